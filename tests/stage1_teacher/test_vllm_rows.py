import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DamagedError
from stage1_teacher.vllm_rows import Chunk, RowLedger, Ticket

TEXT = Ticket(key=7, tail_key=11, captured=((2, 5), (8, 20)))
RESPONSE = Ticket(key=8, tail_key=12, captured=((4, None),))


def ledger(**requests: Ticket) -> RowLedger:
    found = RowLedger()
    for name, ticket in requests.items():
        found.admit(name, ticket)
    return found


def chunk(position: int, count: int, row: int = 0, request: str = "a") -> Chunk:
    return Chunk(request=request, position=position, row=row, count=count)


def test_a_ticket_travels_as_plain_values() -> None:
    assert Ticket.of(TEXT.plain()) == TEXT
    assert Ticket.of(RESPONSE.plain()) == RESPONSE


def test_captured_rows_of_a_chunk_know_their_next_token_but_for_the_last() -> None:
    found = ledger(a=TEXT).step([chunk(0, 10, row=30)])
    assert found.positions.tolist() == [2, 3, 4, 8, 9]
    assert found.rows.tolist() == [32, 33, 34, 38, 39]
    assert found.known.tolist() == [True, True, True, True, False]
    assert set(found.keys) == {7}
    assert set(found.tail_keys) == {11}
    assert found.fresh == [(7, 30, 10)]


def test_the_next_chunk_answers_the_row_that_waits() -> None:
    rows = ledger(a=TEXT)
    rows.step([chunk(0, 10)])
    found = rows.step([chunk(10, 3, row=5)])
    assert (found.answered_keys, found.answered_rows) == ([7], [5])
    assert found.positions.tolist() == [10, 11, 12]
    # behind the last captured position nothing waits
    rows.step([chunk(13, 8)])
    assert rows.step([chunk(21, 1)]).answered_keys == []


def test_generated_tokens_come_one_by_one() -> None:
    rows = ledger(a=RESPONSE)
    first = rows.step([chunk(0, 5)])
    assert first.positions.tolist() == [4]
    assert not first.known.any()
    for position in range(5, 9):
        found = rows.step([chunk(position, 1, row=2)])
        assert found.positions.tolist() == [position]
        assert (found.answered_keys, found.answered_rows) == ([8], [2])


def test_what_a_preemption_computes_anew_is_left_out() -> None:
    rows = ledger(a=RESPONSE)
    for one in (chunk(0, 5), chunk(5, 1), chunk(6, 1)):
        rows.step([one])
    rows.admit("a", RESPONSE)  # a runner may announce it again
    again = rows.step([chunk(0, 4)])
    assert len(again.rows) == len(again.fresh) == len(again.answered_keys) == 0
    found = rows.step([chunk(4, 5, row=10)])
    assert (found.answered_keys, found.answered_rows) == ([8], [13])
    assert found.positions.tolist() == [7, 8]
    assert found.known.tolist() == [True, False]
    assert found.fresh == [(8, 13, 2)]


def test_requests_of_one_step_keep_their_own_rows() -> None:
    found = ledger(a=TEXT, b=RESPONSE).step(
        [chunk(0, 4), chunk(0, 3, row=4, request="stranger"), chunk(0, 6, row=7, request="b")]
    )
    assert found.keys.tolist() == [7, 7, 8, 8]
    assert found.rows.tolist() == [2, 3, 11, 12]
    assert found.known.tolist() == [True, False, True, False]


def test_positions_that_were_never_computed_are_an_error() -> None:
    rows = ledger(a=TEXT)
    rows.step([chunk(0, 3)])
    with pytest.raises(DamagedError, match=r"positions 3 to 15 .* never computed"):
        rows.step([chunk(16, 2)])


def test_who_ended_is_no_longer_followed() -> None:
    rows = ledger(a=TEXT, b=RESPONSE)
    rows.forget(["a", "unknown"])
    assert len(rows.step([chunk(0, 10)]).rows) == 0
    rows.close([8])
    assert len(rows.step([chunk(0, 10, request="b")]).rows) == 0


def test_an_empty_step_has_no_rows() -> None:
    found = RowLedger().step([])
    assert found.rows.dtype == np.int64
    assert len(found.rows) == len(found.known) == 0


@settings(max_examples=200, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    preempted=st.sets(st.integers(0, 7)),
    spans=st.lists(st.integers(0, 60), min_size=2, max_size=6, unique=True),
)
def test_every_captured_row_comes_once_with_its_next_token(cuts, preempted, spans) -> None:
    """Whatever the chunks and preemptions; token ids are 100 + position."""
    edges = sorted(spans)[: len(spans) // 2 * 2]
    captured = tuple(zip(edges[::2], edges[1::2], strict=True))
    rows, got = ledger(a=Ticket(key=1, tail_key=0, captured=captured)), {}
    waiting = None
    done = 0
    for index, count in enumerate(cuts):
        start = 0 if index in preempted else done
        step = chunk(start, done + count - start)
        ids = 100 + np.arange(start, done + count)
        found = rows.step([step])
        for row in found.answered_rows:
            got[waiting] = ids[row]
            waiting = None
        for position, row, known in zip(found.positions, found.rows, found.known, strict=True):
            assert position not in got
            if known:
                got[position] = ids[row + 1]
            else:
                assert waiting is None
                waiting = position
        done += count
    expected = [p for low, high in captured for p in range(low, high) if p < done]
    assert sorted([*got, *([waiting] if waiting is not None else [])]) == expected
    assert all(token == 101 + position for position, token in got.items())
    assert waiting in (None, done - 1)
