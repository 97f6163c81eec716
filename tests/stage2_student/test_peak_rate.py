"""Learning rates for students that were given none."""

import pytest

from stage2_student.peak_rate import peak_rate
from stage2_student.schedule import learning_rate
from stage2_student.settings import TrainSettings


def peak(parameters, **given):
    settings = TrainSettings(dump=["d"], out="o", **given)
    return learning_rate(settings, 10, parameters).peak


@pytest.mark.parametrize(("parameters", "table"), [(125e6, 6e-4), (1.3e9, 2e-4), (13e9, 1e-4)])
def test_it_follows_the_sizes_that_it_is_made_of(parameters, table):
    assert peak_rate(int(parameters), whole=False) == pytest.approx(table, rel=0.2)


def test_small_students_have_a_limit_and_whole_checkpoints_a_quarter():
    assert peak_rate(1000, whole=False) == 1e-3
    assert peak_rate(125_000_000, whole=True) == 1.5e-4


def test_what_is_given_counts_and_what_the_student_starts_from():
    assert peak(125_000_000, student="s") == 1.5e-4
    assert peak(125_000_000, student="s", student_layers=[0, 3]) == 6e-4
    assert peak(125_000_000, student="s", lora_rank=8) == 6e-4
    assert peak(125_000_000, student_config="c") == 6e-4
    assert peak(125_000_000, student="s", learning_rate=7e-5) == 7e-5
