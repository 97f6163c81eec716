"""Plans at index level: any ranks, any workers, any cut, the same samples; none lost or doubled."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from schemas.errors import InputError
from stage2_student.course import Course, Point
from stage2_student.curriculum import Phase
from stage2_student.epoch_plan import EpochPlan, EpochPlans, OrderSettings
from stage2_student.mixture import Mixture
from stage2_student.row_index import RowIndex

SETTINGS = OrderSettings(rows_per_step=8, max_length=128, packing=True, shuffle=True, seed=3)
WORLDS = range(1, 29)
WORKERS = (1, 2, 3, 4, 8)
LENGTH = 50


def make_index(rows: int = 700, groups: int = 50) -> RowIndex:
    rng = np.random.default_rng(0)
    return RowIndex(
        groups=[None] * groups,
        group_R=np.sort(rng.integers(0, groups, rows)),
        row_R=np.arange(rows),
        length_R=rng.integers(1, 129, rows),
        longest=128,
        sources=["a", "b", "c"],
        source_R=rng.integers(0, 3, rows),
    )


def plan_epoch(settings: OrderSettings = SETTINGS, epoch: int = 0) -> EpochPlan:
    return EpochPlans(make_index(), settings).of(epoch)


def rows_of(plan: EpochPlan, steps: range, parts: int) -> list[int]:
    return [
        row
        for step in steps
        for part in range(parts)
        for pack in plan.rows(step, part, parts)
        for row in pack.tolist()
    ]


def test_an_epoch_has_every_row_once() -> None:
    plan = plan_epoch()
    assert sorted(rows_of(plan, range(plan.steps), 1)) == list(range(700))
    assert plan.tokens == make_index().length_R.sum()


MIXED = OrderSettings(
    rows_per_step=8,
    max_length=128,
    packing=True,
    shuffle=True,
    seed=3,
    mixture=Mixture(temperature=4.0),
    phases=(Phase(until=20, max_tokens=60), Phase()),
)


@pytest.mark.parametrize("settings", [SETTINGS, MIXED], ids=["plain", "mixed"])
def test_any_ranks_and_workers_continue_the_same_samples_at_any_cut(settings) -> None:
    """28 × 28 world sizes × 5 numbers of workers × 10 cuts, by index alone.

    A step is cut into world size × workers shares. The samples that so many readers see up to a
    cut, then others, which begin there, are those of one reader that never stopped.
    """
    plans = EpochPlans(make_index(), settings)
    whole = _steps(plans, settings, 0)
    cuts = np.linspace(0, LENGTH, 10, dtype=int).tolist()
    assert [_steps(plans, settings, cut) for cut in cuts] == [whole[cut:] for cut in cuts]
    expected = [row for place in whole for row in _rows(plans, place, 1)]
    halves = {
        parts: _halves([_rows(plans, place, parts) for place in whole], cuts)
        for parts in {world * workers for world in WORLDS for workers in WORKERS}
    }
    compared = 0
    for before in WORLDS:
        for after in WORLDS:
            for workers in WORKERS:
                firsts, seconds = halves[before * workers], halves[after * workers]
                for (first, _), (_, second) in zip(firsts, seconds, strict=True):
                    assert first + second == expected
                    compared += 1
    assert compared == 28 * 28 * 5 * 10


Place = tuple[int, int, int]


def _steps(plans: EpochPlans, settings: OrderSettings, first: int) -> list[Place]:
    """Phase, epoch and step of every step from one on, as whoever begins there finds them."""
    course = Course(plans, settings.phases)
    places = (
        (stretch.phase, stretch.epoch, step)
        for stretch in course.stretches(course.after(Point(), first))
        for step in range(stretch.first, stretch.end)
    )
    return list(islice(places, LENGTH - first))


def _rows(plans: EpochPlans, place: Place, parts: int) -> list[int]:
    phase, epoch, step = place
    return rows_of(plans.of(epoch, phase), range(step, step + 1), parts)


def _halves(steps: list[list[int]], cuts: list[int]) -> list[tuple[list[int], list[int]]]:
    return [
        ([row for step in steps[:cut] for row in step], [r for step in steps[cut:] for r in step])
        for cut in cuts
    ]


def test_a_phase_ends_where_it_says_and_the_next_begins_anew() -> None:
    plans = EpochPlans(make_index(), MIXED)
    places = _steps(plans, MIXED, 0)
    assert [phase for phase, _, _ in places] == [0] * 20 + [1] * (LENGTH - 20)
    assert places[20] == (1, 0, 0)
    early = [row for place in places[:20] for row in _rows(plans, place, 1)]
    later = [row for place in places[20:] for row in _rows(plans, place, 1)]
    lengths = make_index().length_R
    assert lengths[early].max() <= 60 < lengths[later].max()


def test_a_phase_that_leaves_nothing_is_refused_with_what_there_is() -> None:
    phases = (Phase(until=5, min_tokens=200), Phase())
    with pytest.raises(InputError, match=r"until step 5 leaves nothing.* 1 to 128 tokens"):
        EpochPlans(make_index(), replace(SETTINGS, phases=phases))


def test_epochs_differ_unless_not_shuffled() -> None:
    plans = EpochPlans(make_index(), SETTINGS)
    assert plans.of(0).packs.members.tolist() != plans.of(1).packs.members.tolist()
    assert plans.of(1) is plans.of(1)
    plain = OrderSettings(rows_per_step=8, max_length=128, packing=False, shuffle=False, seed=3)
    assert plan_epoch(plain, 5).packs.members.tolist() == list(range(700))


def test_fill_is_the_share_of_places_with_a_token() -> None:
    index = make_index()
    plan = plan_epoch()
    assert plan.fill == index.length_R.sum() / (len(plan.packs) * 128)
    assert plan.fill > 0.9
