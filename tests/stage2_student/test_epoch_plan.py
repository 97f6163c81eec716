"""Plans at index level: any ranks, any cut, the same samples; nothing lost or doubled."""

import numpy as np

from stage2_student.epoch_plan import EpochPlan, EpochPlans, OrderSettings, plan_epoch
from stage2_student.row_index import RowIndex

SETTINGS = OrderSettings(rows_per_step=8, max_length=128, packing=True, shuffle=True, seed=3)


def make_index(rows: int = 700, groups: int = 50) -> RowIndex:
    rng = np.random.default_rng(0)
    return RowIndex(
        groups=[None] * groups,
        group_R=np.sort(rng.integers(0, groups, rows)),
        row_R=np.arange(rows),
        length_R=rng.integers(1, 129, rows),
        longest=128,
    )


def rows_of(plan: EpochPlan, steps: range, parts: int) -> list[int]:
    return [
        row
        for step in steps
        for part in range(parts)
        for pack in plan.rows(step, part, parts)
        for row in pack.tolist()
    ]


def test_an_epoch_has_every_row_once() -> None:
    plan = plan_epoch(make_index(), SETTINGS, 0)
    assert sorted(rows_of(plan, range(plan.steps), 1)) == list(range(700))


def test_the_number_of_parts_does_not_change_the_samples() -> None:
    """28 × 28 changes of the number of ranks (times micro-batches) at 10 cuts each."""
    plan = plan_epoch(make_index(), SETTINGS, 0)
    steps = range(plan.steps)
    whole = rows_of(plan, steps, 1)
    halves = {
        (cut, parts): (
            rows_of(plan, steps[:cut], parts),
            rows_of(plan_epoch(make_index(), SETTINGS, 0), steps[cut:], parts),
        )
        for cut in np.linspace(0, plan.steps, 10, dtype=int).tolist()
        for parts in range(1, 29)
    }
    for cut in {cut for cut, _ in halves}:
        for before in range(1, 29):
            for after in range(1, 29):
                assert halves[cut, before][0] + halves[cut, after][1] == whole


def test_epochs_differ_unless_not_shuffled() -> None:
    plans = EpochPlans(make_index(), SETTINGS)
    assert plans.of(0).packs.members.tolist() != plans.of(1).packs.members.tolist()
    assert plans.of(1) is plans.of(1)
    plain = OrderSettings(rows_per_step=8, max_length=128, packing=False, shuffle=False, seed=3)
    assert plan_epoch(make_index(), plain, 5).packs.members.tolist() == list(range(700))


def test_fill_is_the_share_of_places_with_a_token() -> None:
    index = make_index()
    plan = plan_epoch(index, SETTINGS, 0)
    assert plan.fill == index.length_R.sum() / (len(plan.packs) * 128)
    assert plan.fill > 0.9
