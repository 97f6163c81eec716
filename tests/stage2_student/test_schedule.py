import math

import pytest

from schemas.errors import ConfigError
from stage2_student.schedule import learning_rate
from stage2_student.settings import TrainSettings


def rates(steps, **given):
    settings = TrainSettings(dump=["d"], student="s", out="o", **given)
    rate = learning_rate(settings, steps, 1)
    return [rate(step) for step in range(steps + 1)]


def test_warm_up_reaches_the_peak_and_cosine_the_floor():
    found = rates(20, warmup_steps=4, min_lr_ratio=0.1)
    assert found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert found[12] == pytest.approx(0.55)
    assert found[20] == pytest.approx(0.1)
    assert found[4:] == sorted(found[4:], reverse=True)


def test_linear_and_constant():
    assert rates(10, warmup_steps=0, schedule="linear", min_lr_ratio=0)[5] == pytest.approx(0.5)
    assert set(rates(10, warmup_steps=0, schedule="constant")) == {1.0}


def test_wsd_is_flat_and_decays_over_its_last_steps():
    found = rates(20, warmup_steps=2, schedule="wsd", decay_steps=4, min_lr_ratio=0)
    assert found[2:17] == [1.0] * 15
    assert found[17:] == pytest.approx([0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75), 0])


def test_wsd_decays_over_a_fifth_unless_told():
    found = rates(20, warmup_steps=2, schedule="wsd")
    assert found.count(1.0) == 20 - 4 - 2 + 1 + 1
    assert found[-1] == pytest.approx(0.1)


def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(ConfigError, match="need 5 steps and the training has 3"):
        rates(3, warmup_steps=5)


def test_the_default_warm_up_grows_with_the_training():
    assert [rates(steps)[:steps].index(1.0) + 1 for steps in (1, 40, 100, 10_000)] == [1, 2, 5, 100]
