"""The pool against the reduction of all rows at once, whatever the steps were."""

import numpy as np
import pytest
import torch

from schemas.manifest import Capture
from stage1_teacher.capture import Reduction
from stage1_teacher.capture_signals import gather_signals
from stage1_teacher.output_head import OutputHead
from stage1_teacher.tail_offsets import tail_key, tail_offsets
from stage1_teacher.vllm_pool import PoolShape, RowPool
from stage1_teacher.vllm_rows import Chunk, RowLedger, Ticket
from tests.capture_agreement import assert_agree

WIDTH, VOCABULARY, LENGTHS = 16, 90, (37, 5, 60)
CAPTURE = Capture(top_k=8)


@pytest.fixture(scope="module")
def reduction() -> Reduction:
    torch.manual_seed(1)
    return Reduction(OutputHead(weight_VD=torch.randn(VOCABULARY, WIDTH)), CAPTURE)


def sequences() -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    return [(torch.randn(n, WIDTH), torch.randint(0, VOCABULARY, (n + 1,))) for n in LENGTHS]


def fill(pool: RowPool, rows: RowLedger, step_tokens: int) -> None:
    """All sequences advance together, by so many positions each step."""
    pairs = sequences()
    for key in range(len(pairs)):
        rows.admit(
            str(key), Ticket(key=key, tail_key=tail_key(3, f"s{key}"), captured=((0, None),))
        )
    for start in range(0, max(LENGTHS), step_tokens):
        parts = [(str(k), s[start : start + step_tokens], i) for k, (s, i) in enumerate(pairs)]
        parts = [part for part in parts if len(part[1])]
        chunks, row = [], 0
        for name, states, _ in parts:
            chunks.append(Chunk(request=name, position=start, row=row, count=len(states)))
            row += len(states)
        ids = torch.cat([ids[start : start + len(s)] for _, s, ids in parts])
        pool.add(rows.step(chunks), torch.cat([s for _, s, _ in parts]), ids.int())


def expected(reduction: Reduction, key: int):
    states, ids = sequences()[key]
    positions = np.arange(len(states), dtype=np.int32)
    offsets = torch.from_numpy(tail_offsets(3, f"s{key}", positions))
    return gather_signals(reduction(states, ids[1:], offsets), CAPTURE.temperatures)


@pytest.mark.parametrize("block", [4, 32, 500])
@pytest.mark.parametrize("step_tokens", [1, 7, 64])
def test_steps_and_blocks_do_not_show(reduction: Reduction, step_tokens: int, block: int) -> None:
    shape = PoolShape(block=block, waiting=len(LENGTHS), width=WIDTH)
    pool = RowPool(reduction, CAPTURE.temperatures, shape, torch.empty(0))
    fill(pool, RowLedger(), step_tokens)
    pairs = sequences()
    for keys in ([2, 0], [1]):  # asked for in two goes, not in the order of their ends
        ends = {key: (int(pairs[key][1][-1]), LENGTHS[key]) for key in keys}
        signals, positions, counts = pool.take(ends)
        assert counts.tolist() == [LENGTHS[key] for key in keys]
        start = 0
        for key in keys:
            rows = np.arange(start, start + LENGTHS[key])
            start += LENGTHS[key]
            assert positions[rows].tolist() == list(range(LENGTHS[key]))
            twin = expected(reduction, key)
            np.testing.assert_allclose(
                signals.token_logprobs[rows], twin.token_logprobs, atol=2e-6, rtol=1e-6
            )
            np.testing.assert_allclose(
                signals.tail_logmass[rows], twin.tail_logmass, atol=2e-5, rtol=1e-5
            )


def test_all_of_the_signals_are_there(reduction: Reduction) -> None:
    shape = PoolShape(block=8, waiting=3, width=WIDTH)
    pool = RowPool(reduction, CAPTURE.temperatures, shape, torch.empty(0))
    fill(pool, RowLedger(), 5)
    ids = sequences()[2][1]
    signals, _, _ = pool.take({2: (int(ids[-1]), LENGTHS[2])})
    assert_agree(signals, expected(reduction, 2))


def test_rows_behind_the_end_are_left_out(reduction: Reduction) -> None:
    shape = PoolShape(block=8, waiting=3, width=WIDTH)
    pool = RowPool(reduction, CAPTURE.temperatures, shape, torch.empty(0))
    fill(pool, RowLedger(), 1)
    ids = sequences()[0][1]
    signals, positions, _ = pool.take({0: (int(ids[10]), 10)})
    assert positions.tolist() == list(range(10))
    np.testing.assert_allclose(
        signals.token_logprobs, expected(reduction, 0).token_logprobs[:10], atol=2e-6
    )


def test_more_may_wait_than_was_said(reduction: Reduction) -> None:
    pool = RowPool(
        reduction, CAPTURE.temperatures, PoolShape(block=2, waiting=1, width=WIDTH), torch.empty(0)
    )
    rows = RowLedger()
    for key in range(9):
        rows.admit(str(key), Ticket(key=key, tail_key=0, captured=((0, 1),)))
        step = rows.step([Chunk(request=str(key), position=0, row=0, count=1)])
        pool.add(step, torch.ones(1, WIDTH), torch.zeros(1).int())
    signals, positions, counts = pool.take({key: (key, 1) for key in range(9)})
    assert counts.tolist() == [1] * 9
    assert len(signals.max_logit) == len(positions) == 9


def test_nothing_was_captured(reduction: Reduction) -> None:
    shape = PoolShape(block=2, waiting=1, width=WIDTH)
    pool = RowPool(reduction, CAPTURE.temperatures, shape, torch.empty(0))
    signals, positions, counts = pool.take({4: (0, 10)})
    assert len(signals.max_logit) == len(positions) == 0
    assert counts.tolist() == [0]
