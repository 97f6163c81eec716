"""How settings become a weighted sum of losses, and what is refused before any work."""

import logging

import pytest

from schemas.errors import ConfigError
from stage2_student.fused_softmax import Sums
from stage2_student.losses import LOSSES
from stage2_student.objective import (
    Objective,
    Term,
    check_objective,
    make_objective,
    objective_of,
)
from stage2_student.settings import TrainSettings

GRID = [1.0, 2.0]
PLAIN = {"dump": ["d"], "out": "o", "student": "s"}


def test_the_default_is_forward_kl_through_the_sample_with_cross_entropy_logged():
    soft, hard = make_objective().terms
    assert soft == Term(loss="fkl", weight=1.0, temperature=1.0, tail="sample")
    assert (hard.loss, hard.weight) == ("ce", 0.0)
    assert make_objective() == objective_of(TrainSettings(**PLAIN))


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


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_a_bare_name_with_the_tail_that_serves_it_best(loss):
    term = make_objective(loss).terms[0]
    assert (term.loss, term.tail) == (loss, LOSSES[loss].tail)
    if LOSSES[loss].soft:
        assert make_objective(loss, tail="none").terms[0].tail == "none"


def test_a_sum_says_everything_a_term_has():
    objective = make_objective("0.7*jsd(beta=0.2, temperature=2, tail=bucket) + .3 * ce + fkl")
    assert objective.terms == (
        Term(loss="jsd", weight=0.7, temperature=2.0, tail="bucket", arguments={"beta": 0.2}),
        Term(loss="ce", weight=0.3, tail="none"),
        Term(loss="fkl"),
    )
    assert make_objective(objective.written).terms == objective.terms


@pytest.mark.parametrize(
    "listed",
    [
        ["0.9*fkl(temperature=2)", "0.1*ce"],
        [{"loss": "fkl", "weight": 0.9, "temperature": 2}, {"loss": "ce", "weight": 0.1}],
        ["0.9*fkl(temperature=2) + 0.1*ce"],
        ["0.9 * fkl ( temperature = 2.0 )\n", "1e-1*ce()"],
    ],
)
def test_a_list_of_terms_is_the_sum_of_them(listed):
    assert make_objective(listed) == make_objective("0.9*fkl(temperature=2) + 0.1*ce")


def test_options_hold_for_the_terms_that_name_none():
    objective = make_objective("fkl + 0.5*rkl(tail=none)", temperature=2.0)
    assert [t.temperature for t in objective.terms] == [2.0, 2.0]
    assert [t.tail for t in make_objective("1*fkl + ce", tail="bucket").terms] == ["bucket", "none"]
    assert make_objective("fkl(temperature=2)", temperature=2.0, tail="sample")


def test_terms_of_one_loss_have_names_of_their_own_in_logs():
    objective = make_objective("fkl + fkl(temperature=2) + jsd(beta=0.1) + jsd(tail=bucket)")
    assert objective.labels == (
        *("fkl", "fkl temperature 2", "jsd beta 0.1", "jsd tail bucket", "ce"),
    )
    assert make_objective("fkl(temperature=2) + ce").labels == ("fkl", "ce")


def test_sums_over_the_vocabulary_are_asked_for_only_where_they_are_read():
    assert make_objective(tail="sample").sums == {1.0: Sums()}
    assert make_objective("fkl", 2.0, 0.5, "bucket").sums == {1.0: Sums(), 2.0: Sums(tail=True)}
    assert make_objective("rkl(temperature=2) + ce(smoothing=0.1)").sums == {
        1.0: Sums(mean=True),
        2.0: Sums(tail=True),
    }


CARETS = {
    "0.9*fkll(temperature=2)": ("unknown loss 'fkll'", "fkll", "Did you mean 'fkl'? Known: fkl, "),
    "fkl(temperatur=2)": ("no argument 'temperatur'", "temperatur", "'temperature'"),
    "fkl(temperature=0) + ce": ("positive number; found 0", "0)", "Try 1 or 2"),
    "fkl(temperature=tail)": ("positive number; found tail", "tail)", "Try 1 or 2"),
    "fkl(temperature=1e999)": ("positive number; found 1e999", "1e999", "Try 1 or 2"),
    "ce + fkl(tail=buckett)": ("unknown tail 'buckett'", "buckett", "Did you mean 'bucket'?"),
    "ce(tail=sample)": ("ce has no argument 'tail'", "tail", "Known: smoothing"),
    "jsd(beta=1)": ("above 0 and below 1; found 1", "1)", "The default is 0.5"),
    "ce(smoothing=much)": ("from 0 and below 1; found much", "much", "The default is 0"),
    "jsd(beta=.1, beta=.2)": ("beta is given twice", "beta=.2", "Leave one"),
    "fkl - ce": ("'-' has no meaning", "-", "Write for example"),
    "0.9 fkl": ("followed by *", "fkl", "Write for example"),
    "fkl ce": ("followed by + and another one", "ce", "Write for example"),
    "fkl(2)": ("an argument's name is expected", "2", "Write for example"),
    "fkl(tail)": ("followed by = and its value", ")", "Write for example"),
    "fkl(tail=)": ("a number or a word, is expected", ")", "Write for example"),
    "fkl(tail=none temperature=1)": ("separated by commas", "temperature", "Write for example"),
}


@pytest.mark.parametrize("text", CARETS)
def test_what_is_wrong_in_a_sum_is_pointed_at(text):
    problem, place, advice = CARETS[text]
    with pytest.raises(ConfigError) as error:
        make_objective(text)
    first, shown, caret, last = str(error.value).splitlines()
    assert problem in first and advice in last
    assert shown == f"  {text}"
    assert caret.index("^") - 2 == text.rindex(place)
    assert set(caret) == {" ", "^"}


@pytest.mark.parametrize("text", ["fkl(temperature=2", "fkl +", "2*", "", " "])
def test_a_sum_that_ends_too_early_is_pointed_at_behind_its_end(text):
    with pytest.raises(ConfigError, match="the text ends here") as error:
        make_objective(text)
    _, shown, caret, _ = str(error.value).splitlines()
    assert caret.index("^") == len(shown)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"loss": "kl"}, "unknown loss 'kl'"),
        ({"loss": "0*fkl + 0*ce"}, "weights of the loss sum to zero: 0.*fkl"),
        ({"loss": []}, "no term"),
        ({"loss": [{"weight": 1}]}, "no key 'loss'"),
        ({"loss": [{"loss": "fkl", "beta": 1}]}, r"no argument 'beta'\n  fkl\(beta=1\)"),
        ({"loss": [{"loss": "fkl", "weight": -1}]}, "'-' has no meaning"),
        ({"loss": "fkl + 0.5*fkl"}, "twice"),
        ({"tail": "drop"}, "unknown tail 'drop'. Known: sample, bucket, none, renormalise"),
        ({"temperature": 0.0}, "temperature must be positive; found 0"),
        ({"temperature": float("nan")}, "temperature must be positive; found nan"),
        ({"ce_weight": 1.5}, "ce_weight must be between 0 .* found 1.5"),
        ({"loss": "fkl + ce", "ce_weight": 0.1}, "ce_weight 0.1 is given too"),
        ({"loss": "1*fkl", "ce_weight": 0.0}, "ce_weight 0 is given too"),
        ({"loss": "fkl(temperature=2)", "temperature": 1.0}, "2 here, and --temperature says 1"),
        ({"loss": "1*fkl(tail=none)", "tail": "bucket"}, "none here, and --tail says bucket"),
    ],
)
def test_wrong_words_and_contradictions_are_refused(wrong, text):
    with pytest.raises(ConfigError, match=text):
        make_objective(**wrong)


def test_an_objective_has_a_term_and_none_twice():
    assert Objective(terms=(Term(loss="fkl"), Term(loss="fkl", temperature=2.0)))
    with pytest.raises(ConfigError, match="twice"):
        Objective(terms=(Term(loss="fkl"), Term(loss="fkl", weight=0.5)))
    with pytest.raises(ConfigError, match="no term"):
        Objective(terms=())


def test_a_temperature_outside_the_grid_is_refused_with_the_grid():
    with pytest.raises(ConfigError, match=r"temperature 3, .* fkl .*made for 1, 2.*1,2,3"):
        check_objective(make_objective("ce + fkl(temperature=3)"), GRID, 64)


def test_a_dump_without_a_tail_sample_points_to_the_bucket():
    with pytest.raises(ConfigError, match="--tail bucket"):
        check_objective(make_objective(), GRID, 0)
    check_objective(make_objective(tail="bucket"), GRID, 0)
    check_objective(make_objective("ce"), GRID, 0)


def test_tails_that_train_badly_warn_and_nothing_else_does(caplog):
    with caplog.at_level(logging.WARNING):
        for tail in ("sample", "bucket", "none"):
            check_objective(make_objective("fkl", 1.0, 0.5, tail), GRID, 64)
        check_objective(make_objective("rkl + skew_rkl + jsd"), GRID, 64)
        assert not caplog.records
        check_objective(make_objective(tail="renormalise"), GRID, 64)
        check_objective(make_objective("skew_rkl", tail="none"), GRID, 64)
    assert {record.name for record in caplog.records} == {"stage2_student.objective"}
    renormalised, outside = caplog.messages
    assert "worse than no teacher" in renormalised
    assert "out of the kept entries" in outside
