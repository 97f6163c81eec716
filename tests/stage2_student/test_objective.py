"""How settings become a weighted sum of losses, and what is refused before any work."""

import logging

import pytest

from schemas.errors import ConfigError
from stage2_student.objective import Objective, Term, check_objective, make_objective

GRID = [1.0, 2.0]


def test_the_default_is_forward_kl_through_the_sample_with_cross_entropy_logged():
    soft, hard = make_objective().terms
    assert soft == Term(loss="fkl", weight=1.0, temperature=1.0, tail="sample")
    assert (hard.loss, hard.weight) == ("ce", 0.0)


def test_a_mix_sums_to_one_and_keeps_cross_entropy_at_temperature_one():
    soft, hard = make_objective("fkl", 2.0, 0.25, "bucket").terms
    assert soft == Term(loss="fkl", weight=0.75, temperature=2.0, tail="bucket")
    assert soft.factor == 0.75 * 4
    assert hard.factor == 0.25


def test_cross_entropy_is_not_computed_for_logs_where_it_would_cost_a_pass():
    objective = make_objective(temperature=2.0)
    assert [term.loss for term in objective.terms] == ["fkl"]
    assert objective.temperatures == (2.0,)


def test_cross_entropy_alone():
    assert make_objective("ce", temperature=2.0, ce_weight=0.3).terms == (
        Term(loss="ce", tail="none"),
    )


def test_the_tail_mass_is_asked_for_only_by_the_bucket():
    assert make_objective(tail="sample").tail_temperatures == frozenset()
    assert make_objective("fkl", 2.0, 0.5, "bucket").tail_temperatures == {2.0}
    assert make_objective("fkl", 2.0, 0.5, "bucket").temperatures == (1.0, 2.0)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"loss": "kl"}, "unknown loss 'kl': choose one of fkl, ce"),
        ({"tail": "drop"}, "unknown tail 'drop': choose one of sample, bucket, none, renormalise"),
        ({"temperature": 0.0}, "temperature must be positive; found 0"),
        ({"temperature": float("nan")}, "temperature must be positive; found nan"),
        ({"ce_weight": 1.5}, "ce_weight must be between 0 .* found 1.5"),
    ],
)
def test_wrong_words_are_refused(wrong, text):
    with pytest.raises(ConfigError, match=text):
        make_objective(**wrong)


def test_a_loss_may_stand_in_a_sum_once():
    with pytest.raises(ConfigError, match="different losses"):
        Objective(terms=(Term(loss="fkl"), Term(loss="fkl", temperature=2.0)))
    with pytest.raises(ConfigError, match="at least one"):
        Objective(terms=())


def test_a_temperature_outside_the_grid_is_refused_with_the_grid():
    with pytest.raises(ConfigError, match=r"temperature 3: it was made for 1, 2.*1,2,3"):
        check_objective(make_objective(temperature=3.0), GRID, 64)


def test_a_dump_without_a_tail_sample_points_to_the_bucket():
    with pytest.raises(ConfigError, match="--tail bucket"):
        check_objective(make_objective(), GRID, 0)
    check_objective(make_objective(tail="bucket"), GRID, 0)
    check_objective(make_objective("ce"), GRID, 0)


def test_renormalising_warns_and_nothing_else_does(caplog):
    with caplog.at_level(logging.WARNING):
        for tail in ("sample", "bucket", "none"):
            check_objective(make_objective("fkl", 1.0, 0.5, tail), GRID, 64)
        assert not caplog.records
        check_objective(make_objective(tail="renormalise"), GRID, 64)
    assert [record.name for record in caplog.records] == ["stage2_student.objective"]
    assert "worse than no teacher" in caplog.text
