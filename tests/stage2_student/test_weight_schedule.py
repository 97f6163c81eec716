"""Weights that change over the steps: their shapes, how they are written, what is refused."""

import math

import pytest

from schemas.errors import ConfigError
from stage2_student.objective import make_objective, objective_of
from stage2_student.objective_schedule import check_schedules
from stage2_student.settings import TrainSettings

PLAIN = {"dump": ["d"], "out": "o", "student": "s"}


def weights(written, steps, term=0):
    objective = make_objective(f"{written} + ce")
    return [objective.at(step, steps).terms[term].weight for step in range(steps)]


def test_linear_goes_from_one_number_to_the_other():
    assert weights("linear(0, 1)*fkl", 4) == [0, 0.25, 0.5, 0.75]
    found = weights("linear(2, 1, after=1, until=5)*fkl", 8)
    assert found == [2, 2, 1.75, 1.5, 1.25, 1, 1, 1]


def test_cosine_is_flat_at_both_ends():
    found = weights("cosine(0, 1, until=4)*fkl", 6)
    assert found == pytest.approx(
        [0, (1 - math.sqrt(0.5)) / 2, 0.5, (1 + math.sqrt(0.5)) / 2, 1, 1]
    )


def test_a_step_is_the_first_number_before_it_and_the_second_from_it_on():
    assert weights("step(1, 0.25, until=2)*fkl", 4) == [1, 1, 0.25, 0.25]


def test_wsd_rises_stays_and_falls():
    found = weights("wsd(0, 2, warmup=2, decay=4)*fkl", 10)
    falling = [2 * (1 - math.sqrt(x)) for x in (0.25, 0.5, 0.75)]
    assert found == pytest.approx([1, 2, 2, 2, 2, 2, 2, *falling])
    assert weights("wsd(1, 3)*fkl", 10)[7:] == pytest.approx([3, 3, 3 - 2 * math.sqrt(0.5)])


def test_one_temperature_fades_into_another():
    written = "linear(1, 0)*fkl(temperature=2) + linear(0, 1)*fkl"
    objective = make_objective(written)
    assert objective.labels == ("fkl temperature 2", "fkl", "ce")
    halfway = objective.at(5, 10)
    assert [term.factor for term in halfway.terms] == [0.5 * 4, 0.5, 0]
    assert halfway.labels == objective.labels and halfway.sums == objective.sums
    assert make_objective(objective.written).at(3, 10) == objective.at(3, 10)


def test_it_is_written_as_it_was_read():
    listed = [{"loss": "fkl", "weight": "step(0, 1, until=5)"}, {"loss": "ce", "weight": 0.5}]
    objective = make_objective(listed)
    assert objective.written == "step(0, 1, until=5)*fkl(tail=sample) + 0.5*ce"
    assert make_objective("0.9*fkl").at(0, 1) is not None


def test_what_does_not_change_stays_the_same_object():
    objective = make_objective("0.9*fkl + 0.1*ce")
    assert objective.at(7, 10) is objective


def test_cross_entropy_alone_comes_first_and_the_rest_is_logged():
    settings = TrainSettings(**PLAIN, loss="0.8*fkl(temperature=2) + 0.1*tvd", ce_warmup_steps=3)
    objective = objective_of(settings)
    assert objective.labels == ("fkl", "tvd", "ce")
    assert [term.weight for term in objective.at(2, 9).terms] == [0, 0, 1]
    assert [term.weight for term in objective.at(3, 9).terms] == [0.8, 0.1, 0]
    assert objective.written.startswith("ce until step 3, then 0.8*fkl(temperature=2")


def test_the_warm_up_takes_the_cross_entropy_that_is_there():
    settings = TrainSettings(**PLAIN, loss="fkl", ce_weight=0.25, ce_warmup_steps=1)
    objective = objective_of(settings)
    assert [term.weight for term in objective.at(0, 2).terms] == [0, 1]
    assert [term.weight for term in objective.at(1, 2).terms] == [0.75, 0.25]


CARETS = {
    "liner(0, 1)*fkl": ("unknown schedule 'liner'", "liner", "Did you mean 'linear'?"),
    "linear(0,)*fkl": ("two numbers, from and to", ")", "Write for example"),
    "linear(0, fast)*fkl": ("two numbers, from and to", "fast", "Write for example"),
    "linear(0, 1, untl=5)*fkl": ("linear has no argument 'untl'", "untl", "Did you mean 'until'?"),
    "linear(0, 1, until=.5)*fkl": ("until is a number of steps; found .5", ".5", "until=1000"),
    "linear(0, 1, until=5, until=6)*fkl": ("until is given twice", "until=6", "Leave one"),
    "step(0, 1)*fkl": ("step has no argument 'until'", "step", "until=1000"),
    "cosine(0, 1, after=9, until=9)*fkl": ("ends before it begins", "cosine", "later until"),
    "linear(0, 1)fkl": ("followed by *", "fkl", "Write for example"),
    "fkl(temperature=linear(2, 1))": ("closed by )", "(2", "Write for example"),
}


@pytest.mark.parametrize("text", CARETS)
def test_errors_point_at_what_is_wrong(text):
    problem, at, advice = CARETS[text]
    with pytest.raises(ConfigError) as caught:
        make_objective(text)
    shown = str(caught.value)
    first, source, caret, *_ = shown.splitlines()
    assert problem in first and advice in shown
    assert source.strip() == text
    assert caret.index("^") - 2 == text.index(at)


@pytest.mark.parametrize(
    ("written", "given", "words"),
    [
        ("linear(0, 1, until=30)*fkl + ce", {}, "needs 30 steps and the training has 20"),
        ("wsd(0, 1, warmup=15, decay=6)*fkl + ce", {}, "needs 21 steps"),
        ("cosine(0, 1, after=20)*fkl + ce", {}, "needs 21 steps"),
        ("linear(0, 1)*fkl", {}, "all weights of the loss are 0 at step 1:"),
        ("step(1, 0, until=7)*fkl + linear(0, 1, after=8)*ce", {}, "are 0 at step 8:"),
        ("linear(1, 0, until=20)*fkl", {"ce_warmup_steps": 20}, "nothing would be learned"),
    ],
)
def test_schedules_that_do_not_fit_the_training_are_refused(written, given, words):
    objective = objective_of(TrainSettings(**PLAIN, loss=written, **given))
    with pytest.raises(ConfigError, match=words):
        check_schedules(objective, 20)


def test_schedules_that_fit_are_not():
    for written in (
        "linear(1, 0)*ce + linear(0, 1)*fkl",
        "step(1, 0, until=7)*ce + step(0, 1, until=7)*fkl",
    ):
        check_schedules(make_objective(written), 20)
    warmed = TrainSettings(**PLAIN, loss="linear(0, 1)*fkl + 0*ce", ce_warmup_steps=1)
    check_schedules(objective_of(warmed), 20)
