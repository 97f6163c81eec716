"""The order of an epoch: pure functions of the seed, independent of ranks, workers and the past.

1. All row groups of all dumps are permuted, and the rows inside each group.
2. The rows in that order are packed (`packing.py`).
3. Packs become steps of `rows_per_step` packs. Consecutive packs come from the same row groups, so
   taking them in order would mix little, and every rank would read everything. So a *span* of
   packs is cut into lanes of consecutive packs, and a step takes one pack out of each of several
   lanes: it mixes many row groups, and a rank, which always has the same lanes, reads its own.

The numbers come from raw PCG64 output, which numpy promises to keep; `Generator.permutation` is
free to change between versions.
"""

import math

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

LANES = 32
"""At least so many lanes: a step, and its neighbours in time, mix about so many row groups."""

SPAN_TOKENS = 1 << 19
"""Tokens of a span; a rank holds its part of two in memory, 0.2 to 0.6 kB a token."""


def keys(count: int, *seed: int) -> npt.NDArray[np.uint64]:
    """[count] pseudo-random 64-bit numbers of a seed of several parts (each ≥ 0)."""
    raw: npt.NDArray[np.uint64] = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return raw


def shuffled_rows(group_R: Ints, groups: int, seed: int, epoch: int) -> Ints:
    """[R] the rows in the order of one epoch: groups permuted, rows permuted inside them.

    Args:
        group_R: the row group of each row.
        groups: how many groups there are.
        seed: the run's seed.
        epoch: from 0.
    """
    rank_of_group = np.empty(groups, np.int64)
    rank_of_group[np.argsort(keys(groups, seed, epoch, 0), kind="stable")] = np.arange(groups)
    inside = keys(len(group_R), seed, epoch, 1)
    order_R: Ints = np.lexsort((inside, rank_of_group[group_R]))
    return order_R


class StepOrder:
    """Which packs make up each step of an epoch.

    Attributes:
        packs: packs of the epoch.
        rows_per_step: packs of a step; only the last step of an epoch may have fewer.
        span_steps: steps of a span.
        steps: steps of the epoch.
    """

    def __init__(
        self, packs: int, rows_per_step: int, pack_length: int, span_tokens: int = SPAN_TOKENS
    ) -> None:
        self.packs = packs
        self.rows_per_step = rows_per_step
        self._lanes_per_slot = math.ceil(LANES / rows_per_step)
        lanes = rows_per_step * self._lanes_per_slot
        depth = max(1, span_tokens // (lanes * pack_length))
        self.span_steps = self._lanes_per_slot * depth
        self.steps = math.ceil(packs / rows_per_step)

    def step(self, step: int) -> Ints:
        """The packs of a step, ascending."""
        span, inside = divmod(step, self.span_steps)
        first = span * self.span_steps * self.rows_per_step
        count = min(self.span_steps * self.rows_per_step, self.packs - first)
        return first + self._of_span(count, inside)

    def span_start(self, step: int) -> int:
        """The first step of the span that a step is in."""
        return step // self.span_steps * self.span_steps

    def span_end(self, step: int) -> int:
        """The first step after it."""
        return min(self.steps, self.span_start(step) + self.span_steps)

    def _of_span(self, count: int, step: int) -> Ints:
        """Slot i of the steps owns the i-th run of consecutive packs, one pack for each step."""
        slots = np.arange(self.rows_per_step + 1)
        bounds = slots * count // self.rows_per_step
        starts, lengths = bounds[:-1], np.diff(bounds)
        return np.asarray(
            [
                start + self._inside_run(length, step)
                for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
                if step < length
            ],
            np.int64,
        )

    def _inside_run(self, length: int, step: int) -> int:
        """The step-th pack of a run in lanes: the first of every lane, then the second of each."""
        lanes = min(self._lanes_per_slot, length)
        deep, rest = divmod(length, lanes)  # the first `rest` lanes have one pack more
        depth, lane = divmod(step, lanes)
        return lane * deep + min(lane, rest) + depth


def share(packs: Ints, part: int, parts: int) -> Ints:
    """One of `parts` consecutive shares of a step's packs; their sizes differ by at most one."""
    return packs[part * len(packs) // parts : (part + 1) * len(packs) // parts]
