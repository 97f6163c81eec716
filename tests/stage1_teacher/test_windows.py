"""Windows capture every position exactly once, whatever their length and overlap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigError
from stage1_teacher.windows import KINDS, RowTokens, cut, windows


def make_row(length: int, head: int = 0) -> RowTokens:
    learned = np.ones(length, np.bool_)
    learned[:head] = False
    kinds = np.full(length, KINDS.index("text"), np.int8)
    kinds[:head] = KINDS.index("template")
    ids = np.arange(length, dtype=np.int32)
    return RowTokens(ids=ids, kinds=kinds, learned=learned, head=head)


def captured(row: RowTokens) -> list[tuple[int, int]]:
    """(position's token, token it predicts): ids are the tokens' places in the whole row."""
    return [
        (int(row.ids[p]), int(row.ids[p + 1]))
        for start, end in row.captured
        for p in range(start, end)
    ]


@given(
    length=st.integers(2, 200),
    longest=st.integers(4, 40),
    overlap=st.integers(0, 36),
    head=st.integers(0, 1),
)
def test_every_position_once(length, longest, overlap, head):
    if longest - head - 1 - overlap < 1:
        return
    parts = list(windows(make_row(length, head), longest, overlap))
    pairs = [pair for part in parts for pair in captured(part)]
    assert pairs == [(t - 1, t) for t in range(max(head, 1), length)]
    assert max(map(len, parts)) <= longest
    for part in parts[1:]:
        assert part.ids[:head].tolist() == list(range(head))
        assert not part.learned[: head + 1 + overlap].any()
        assert part.captured[0][0] == head + overlap
    assert all(len(part.captured) == 1 for part in parts)


def test_windows_by_hand():
    first, second, third = windows(make_row(10), 5, 1)
    assert [w.ids.tolist() for w in (first, second, third)] == [
        [0, 1, 2, 3, 4],
        [3, 4, 5, 6, 7],
        [6, 7, 8, 9],
    ]
    assert [w.captured for w in (first, second, third)] == [((0, 4),), ((1, 4),), ((1, 3),)]


def test_windows_begin_with_bos():
    _, second = windows(make_row(7, head=1), 5, 0)
    assert second.ids.tolist() == [0, 4, 5, 6]
    assert second.captured == ((1, 3),)
    assert [(s.kind, s.start, s.end) for s in second.segments] == [
        ("template", 0, 1),
        ("text", 1, 4),
    ]


def test_an_overlap_that_leaves_no_room_is_refused():
    with pytest.raises(ConfigError, match="Give at most 2"):
        list(windows(make_row(10, head=1), 5, 3))
    assert len(list(windows(make_row(10, head=1), 5, 2))) == 6


def test_cut_keeps_the_start():
    part = cut(make_row(9, head=1), 4)
    assert part.ids.tolist() == [0, 1, 2, 3]
    assert part.captured == ((0, 3),)


def test_captured_and_segments_are_runs():
    row = RowTokens(
        ids=np.arange(6, dtype=np.int32),
        kinds=np.array([0, 3, 3, 4, 4, 0], np.int8),
        learned=np.array([1, 0, 1, 1, 0, 1], np.bool_),
    )
    assert row.captured == ((1, 3), (4, 5))
    assert [(s.kind, s.start, s.end) for s in row.segments] == [
        *(("template", 0, 1), ("prompt", 1, 3), ("response", 3, 5), ("template", 5, 6)),
    ]
