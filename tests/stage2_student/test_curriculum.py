"""Phases as users write them, and what is no phase."""

import pytest

from schemas.errors import ConfigError
from stage2_student.curriculum import Phase, check_curriculum, check_weights, parse_curriculum


def test_phases_are_read_and_the_last_one_has_no_end() -> None:
    written = ["until=10 max_tokens=256", "dump_weights=3:1 until=50 min_tokens=8"]
    assert parse_curriculum(written) == (
        Phase(until=10, max_tokens=256),
        Phase(until=50, min_tokens=8, dump_weights=(3.0, 1.0)),
        Phase(),
    )
    assert parse_curriculum([]) == (Phase(),)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("max_tokens=256", "has no until"),
        ("until=10", "changes nothing"),
        ("", "has no until"),
        ("until=10 lr=3", "lr=3"),
        ("until=10 max_tokens=short", "max_tokens=short"),
        ("until=0 max_tokens=4", "until=0"),
        ("until=10 until=20 max_tokens=4", "until twice"),
        ("until=10 dump_weights=a:b", "dump_weights=a:b"),
        ("until=10 dump_weights=0:0", "sum to zero"),
        ("until=10 dump_weights=-1:2", "sum to zero"),
    ],
)
def test_what_is_no_phase_is_refused_with_its_words(written: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_curriculum([written])


def test_phases_end_one_after_the_other() -> None:
    with pytest.raises(ConfigError, match="steps 20, 10"):
        parse_curriculum(["until=20 max_tokens=4", "until=10 max_tokens=8"])


def test_a_curriculum_needs_steps_and_passes_of_its_own() -> None:
    phases = ["until=20 max_tokens=4"]
    check_curriculum(phases, 21, None)
    check_curriculum([], None, 3)
    with pytest.raises(ConfigError, match="steps is not given"):
        check_curriculum(phases, None, None)
    with pytest.raises(ConfigError, match="ends at step 20, and steps is 20"):
        check_curriculum(phases, 20, None)
    with pytest.raises(ConfigError, match="max_passes do not go together"):
        check_curriculum(phases, 30, 2)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -0.5], [float("nan")], [float("inf"), 1.0]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="sum to zero"):
        check_weights(weights)
