"""Mixtures: shares of the tokens, passes that are whole, nothing read twice before all is once."""

from collections import Counter

import numpy as np
import pytest

from schemas.errors import ConfigError
from stage2_student.mixture import Draw, Mixture, check_mixture
from stage2_student.order import shuffled_rows
from stage2_student.row_index import GroupPlace, RowIndex

GROUPS, ROWS = 30, 900


def make_index() -> RowIndex:
    """Three sources of very different sizes over two dumps; the last one has short rows."""
    rng = np.random.default_rng(1)
    group_R = np.sort(rng.integers(0, GROUPS, ROWS))
    source_R = rng.choice(3, ROWS, p=[0.8, 0.17, 0.03])
    length_R = rng.integers(1, 100, ROWS)
    length_R[source_R == 2] = 7
    return RowIndex(
        groups=[GroupPlace(dump=int(g >= 20), shard=None, group=g) for g in range(GROUPS)],
        group_R=group_R,
        row_R=np.arange(ROWS),
        length_R=length_R,
        longest=99,
        sources=["large", "middle", "small"],
        source_R=source_R,
    )


INDEX = make_index()
EVERY = np.arange(ROWS)


def order(rows, number):
    return rows[shuffled_rows(INDEX.group_R[rows], GROUPS, 5, number)]


def draw(mixture: Mixture, eligible=EVERY) -> Draw:
    return Draw(INDEX, mixture, eligible)


def tokens_by(parts, rows) -> np.ndarray:
    return np.bincount(parts[rows], weights=INDEX.length_R[rows], minlength=3)


def dump_R() -> np.ndarray:
    return np.asarray([group.dump for group in INDEX.groups])[INDEX.group_R]


def test_without_weights_an_epoch_is_one_shuffled_pass() -> None:
    for epoch in range(3):
        expected = shuffled_rows(INDEX.group_R, GROUPS, 5, epoch)
        assert draw(Mixture()).rows(epoch, order).tolist() == expected.tolist()
    some = EVERY[INDEX.length_R < 50]
    assert sorted(draw(Mixture(), some).rows(1, order).tolist()) == some.tolist()


@pytest.mark.parametrize("weights", [(3.0, 1.0), (1.0, 8.0), (0.0, 2.0)])
def test_dumps_get_their_share_of_the_tokens_of_every_epoch(weights) -> None:
    found = draw(Mixture(dump_weights=weights))
    size = tokens_by(dump_R(), EVERY)[np.asarray([*weights, 0]) > 0].sum()
    for epoch in range(4):
        tokens = tokens_by(dump_R(), found.rows(epoch, order))[:2]
        assert tokens.sum() == pytest.approx(size, rel=0.03)
        assert tokens / tokens.sum() == pytest.approx(np.asarray(weights) / sum(weights), abs=0.03)


def test_no_row_of_a_part_comes_again_before_all_of_them_came() -> None:
    found = draw(Mixture(dump_weights=(1.0, 6.0)))
    seen: Counter[int] = Counter()
    for epoch in range(5):
        seen.update(found.rows(epoch, order).tolist())
        for dump in (0, 1):
            counts = [seen[row] for row in EVERY[dump_R() == dump].tolist()]
            assert max(counts) - min(counts) <= 1
    assert max(seen.values()) >= 10


def test_temperature_brings_the_sources_closer_together() -> None:
    natural = tokens_by(INDEX.source_R, EVERY)
    assert draw(Mixture(temperature=1.0)).shares == pytest.approx(natural / natural.sum())
    middle = natural**0.5
    assert draw(Mixture(temperature=2.0)).shares == pytest.approx(middle / middle.sum())
    assert draw(Mixture(temperature=1e9)).shares == pytest.approx([1 / 3] * 3)
    seen = draw(Mixture(temperature=1e9)).rows(0, order)
    assert tokens_by(INDEX.source_R, seen) == pytest.approx([natural.sum() / 3] * 3, rel=0.03)


def test_a_share_that_is_the_size_is_whole_passes_in_spite_of_rounding() -> None:
    for mixture in (Mixture(temperature=1.0), Mixture(max_passes=9)):
        for epoch in range(9):
            assert sorted(draw(mixture).rows(epoch, order).tolist()) == EVERY.tolist()


def test_no_source_is_passed_over_more_often_than_is_allowed() -> None:
    found = draw(Mixture(temperature=1e9, max_passes=3))
    seen: Counter[int] = Counter()
    epoch, shares = 0, []
    while not found.exhausted(epoch):
        rows = found.rows(epoch, order)
        seen.update(rows.tolist())
        shares.append(tokens_by(INDEX.source_R, rows))
        epoch += 1
    assert set(seen.values()) == {3} and len(seen) == ROWS
    assert shares[0][2] > 0 and shares[-1][2] == 0
    assert len(found.rows(epoch, order)) == 0
    assert not draw(Mixture(temperature=1e9)).exhausted(10**6)


def test_parts_are_spread_evenly_and_groups_stay_together() -> None:
    rows = draw(Mixture(dump_weights=(1.0, 1.0))).rows(0, order)
    for part in np.array_split(rows, 6):
        tokens = tokens_by(dump_R(), part)[:2]
        assert 0.25 < tokens[0] / tokens.sum() < 0.75
    runs = 1 + np.count_nonzero(np.diff(INDEX.group_R[rows]))
    assert runs <= 2 * GROUPS


def test_weights_that_do_not_fit_are_refused() -> None:
    check_mixture(Mixture(dump_weights=(1.0, 2.0)), 2)
    with pytest.raises(ConfigError, match="2 numbers for 3 dumps"):
        check_mixture(Mixture(dump_weights=(1.0, 2.0)), 3)
    with pytest.raises(ConfigError, match="dump 2 has a weight, and no row of it is left"):
        draw(Mixture(dump_weights=(1.0, 2.0)), EVERY[dump_R() == 0])
