"""Rows of hidden states that wait for the output head, so that it always runs on full blocks.

A step of generation computes one row per sequence, and a head's product over so few rows reads the
whole weight for little. Rows of many steps are kept (a few KiB each) and reduced together; rows
whose next token is not known yet stay behind. Memory is one head block and one row per sequence
under way, however long the prompts are.

Shapes: N rows of a step, D hidden width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stage1_teacher.capture import Reduced
from stage1_teacher.capture_signals import gather_signals, join_signals, take_rows
from stage1_teacher.samples import Signals
from stage1_teacher.uniforms import uniforms
from stage1_teacher.vllm_rows import Index, StepRows

Reduce = Callable[[Tensor, Tensor, Tensor], Iterator[Reduced]]
"""Hidden states, next tokens and draw offsets of N rows to what is kept of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolShape:
    """Sizes of a pool.

    Attributes:
        block: rows that are reduced together.
        waiting: the most rows that can wait for their next token: sequences under way.
        width: D.
    """

    block: int
    waiting: int
    width: int


@dataclass(slots=True)
class _Block:
    """Reduced rows that nobody has taken yet; `left` counts those that are still wanted."""

    keys: Index
    positions: Index
    signals: Signals
    left: int


class RowPool:
    """Takes rows step by step, gives signals per key."""

    def __init__(
        self, reduce: Reduce, temperatures: Sequence[float], shape: PoolShape, like: Tensor
    ) -> None:
        """`like` has the hidden states' dtype and device."""
        size = shape.block + shape.waiting
        self._reduce, self._temperatures, self._shape = reduce, temperatures, shape
        self._hidden = like.new_empty(size, shape.width)
        self._next = torch.zeros(size, dtype=torch.long, device=like.device)
        self._keys = np.zeros(size, np.int64)
        self._positions = np.zeros(size, np.int64)
        self._tail_keys = np.zeros(size, np.uint64)
        self._known = np.zeros(size, np.bool_)
        self._count = 0
        self._blocks: list[_Block] = []

    def add(self, step: StepRows, hidden_ND: Tensor, ids_N: Tensor) -> None:
        """Takes the rows of a step, and the answers that it has for rows that wait."""
        if step.answered_keys:
            self._answer(step.answered_keys, ids_N[self._index(step.answered_rows)])
        start = 0
        while start < len(step.rows):
            count = min(len(step.rows) - start, len(self._keys) - self._count)
            self._put(step, slice(start, start + count), hidden_ND, ids_N)
            start += count
            if self._count == len(self._keys):
                self._flush(self._shape.block)
            if self._count == len(self._keys):
                self._grow()

    def take(self, ends: Mapping[int, tuple[int, int]]) -> tuple[Signals, Index, Index]:
        """Everything of these keys, which have ended.

        Args:
            ends: per key the token after its last row, and the position behind that row; rows from
                there on were computed in vain.

        Returns:
            Signals of the keys in the order of `ends`, by position; the positions; rows per key.
        """
        waiting = self._waiting(ends)
        last = [ends[key][0] for key in waiting]
        self._answer(list(waiting), torch.tensor(last, dtype=torch.long, device=self._next.device))
        self._flush(1)
        order = {key: rank for rank, key in enumerate(ends)}
        behind = np.asarray([end for _, end in ends.values()], np.int64)
        parts = [self._part(block, order, behind) for block in self._blocks]
        self._blocks = [block for block in self._blocks if block.left]
        ranks = np.concatenate([np.zeros(0, np.int64), *(ranks for ranks, _, _ in parts)])
        positions = np.concatenate([np.zeros(0, np.int64), *(at for _, at, _ in parts)])
        joined = join_signals([found for _, _, found in parts], len(self._temperatures))
        sorting = np.lexsort((positions, ranks))
        counts = np.bincount(ranks, minlength=len(order))
        return take_rows(joined, sorting), positions[sorting], counts

    def _part(
        self, block: _Block, order: Mapping[int, int], behind: Index
    ) -> tuple[Index, Index, Signals]:
        """Ranks, positions and signals of a block's rows that are asked for."""
        ranks = np.asarray([order.get(key, -1) for key in block.keys.tolist()], np.int64)
        block.left -= int((ranks >= 0).sum())
        rows = np.flatnonzero((ranks >= 0) & (block.positions < behind[ranks]))
        return ranks[rows], block.positions[rows], take_rows(block.signals, rows)

    def _waiting(self, keys: Mapping[int, object]) -> dict[int, int]:
        """Where the rows of these keys are that wait."""
        slots = np.flatnonzero(~self._known[: self._count]).tolist()
        held = {int(self._keys[slot]): slot for slot in slots}
        return {key: held[key] for key in keys if key in held}

    def _answer(self, keys: list[int], ids: Tensor) -> None:
        slots = list(self._waiting(dict.fromkeys(keys)).values())
        self._next[self._index(slots)] = ids.long()
        self._known[slots] = True

    def _put(self, step: StepRows, part: slice, hidden_ND: Tensor, ids_N: Tensor) -> None:
        rows = step.rows[part]
        here = slice(self._count, self._count + len(rows))
        index = self._index(rows)
        torch.index_select(hidden_ND, 0, index, out=self._hidden[here])
        # the last row of a step has none behind it; it waits, so any id does
        self._next[here] = ids_N[(index + 1).clamp(max=len(ids_N) - 1)].long()
        self._keys[here] = step.keys[part]
        self._positions[here] = step.positions[part]
        self._tail_keys[here] = step.tail_keys[part]
        self._known[here] = step.known[part]
        self._count = here.stop

    def _flush(self, multiple: int) -> None:
        """Reduces rows that know their next token, as many blocks of `multiple` as there are."""
        known = np.flatnonzero(self._known[: self._count])
        known = known[: len(known) // multiple * multiple]
        if not len(known):
            return
        offsets = uniforms(self._tail_keys[known], self._positions[known])
        index = self._index(known)
        reduced = self._reduce(
            self._hidden[index], self._next[index], torch.from_numpy(offsets).to(index.device)
        )
        self._blocks.append(
            _Block(
                self._keys[known],
                self._positions[known],
                gather_signals(reduced, self._temperatures),
                len(known),
            )
        )
        self._keep(np.setdiff1d(np.arange(self._count), known, assume_unique=True))

    def _keep(self, slots: Index) -> None:
        """Moves the rows that stay to the front."""
        count, index = len(slots), self._index(slots)
        self._hidden[:count] = self._hidden[index]
        self._next[:count] = self._next[index]
        for values in (self._keys, self._positions, self._tail_keys, self._known):
            values[:count] = values[slots]
        self._count = count

    def _grow(self) -> None:
        """Doubles: rows of requests that ended wait too, until the driver asks for them."""
        self._hidden = torch.cat([self._hidden, torch.empty_like(self._hidden)])
        self._next = torch.cat([self._next, torch.zeros_like(self._next)])
        self._keys, self._positions, self._tail_keys, self._known = (
            np.concatenate([values, np.zeros_like(values)])
            for values in (self._keys, self._positions, self._tail_keys, self._known)
        )

    def _index(self, rows: npt.ArrayLike) -> Tensor:
        return torch.from_numpy(np.asarray(rows, np.int64)).to(self._next.device)
