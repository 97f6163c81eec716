"""Packing: every sequence once, none over a boundary, close to full."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigError
from stage2_student.packing import OPEN_PACKS, one_per_pack, pack


@given(st.lists(st.integers(1, 50), max_size=200), st.integers(50, 90), st.integers(1, 20))
def test_nothing_is_lost_doubled_or_too_long(
    lengths: list[int], size: int, open_packs: int
) -> None:
    packs = pack(np.asarray(lengths, np.int64), size, open_packs)
    assert sorted(packs.members.tolist()) == list(range(len(lengths)))
    for number in range(len(packs)):
        assert 0 < sum(lengths[m] for m in packs.of(number)) <= size


def test_rows_are_filled() -> None:
    lengths = np.random.default_rng(0).integers(20, 800, 5000)
    packs = pack(lengths, 2048)
    assert lengths.sum() / (len(packs) * 2048) > 0.97


def test_a_row_holds_neighbours() -> None:
    """At most OPEN_PACKS rows are open, so a row spans few of the sequences around it."""
    lengths = np.random.default_rng(0).integers(20, 800, 5000)
    packs = pack(lengths, 2048)
    spreads = [np.ptp(packs.of(number)) for number in range(len(packs))]
    assert max(spreads) < 10 * OPEN_PACKS


def test_too_long_is_refused_with_both_numbers() -> None:
    with pytest.raises(ConfigError, match=r"(?s)300 tokens.*200.*--max-length 300"):
        pack(np.asarray([10, 300]), 200)


def test_one_per_pack() -> None:
    packs = one_per_pack(3)
    assert [packs.of(n).tolist() for n in range(len(packs))] == [[0], [1], [2]]


def test_no_sequences() -> None:
    assert len(pack(np.zeros(0, np.int64), 8)) == 0
