"""The row groups that a rank needs during one span of steps, each read once and then let go.

While the batches of a span are made, threads read the groups of the next one: at its beginning
nearly all of them are needed at once, which takes seconds from an object store.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from schemas.errors import DamagedError
from stage2_student.group_arrays import GroupArrays
from stage2_student.row_index import RowIndex
from stage2_student.shard_reader import ShardReader

Ints = npt.NDArray[np.int64]
PlacedRow = tuple[GroupArrays, int]
"""A row: the group that holds it, and its number there."""

_THREADS = 4
"""Reading waits for the store more than it computes."""


class SpanReader:
    """Gives rows; a group is dropped after its last expected row."""

    def __init__(self, reader: ShardReader, index: RowIndex, threads: ThreadPoolExecutor) -> None:
        self._reader = reader
        self._index = index
        self._threads = threads
        self._left: dict[int, int] = {}
        self._later: frozenset[int] = frozenset()
        self._held: dict[int, Future[GroupArrays]] = {}

    def expect(self, rows: Ints, later: Ints) -> None:
        """Says which rows of the index are going to be taken, each once, and which after these."""
        groups, firsts, counts = np.unique(
            self._index.group_R[rows], return_index=True, return_counts=True
        )
        self._left = dict(zip(groups.tolist(), counts.tolist(), strict=True))
        self._later = frozenset(np.unique(self._index.group_R[later]).tolist())
        in_order = groups[np.argsort(firsts)].tolist()
        self._held = {
            group: self._held.get(group) or self._read(group)
            for group in dict.fromkeys([*in_order, *sorted(self._later)])
        }

    def take(self, rows: Ints) -> list[PlacedRow]:
        """The expected rows with these numbers in the index.

        Raises:
            DamagedError: a shard cannot be read, or changed since the index was made.
        """
        return [self._take(row) for row in rows.tolist()]

    def _read(self, group: int) -> Future[GroupArrays]:
        return self._threads.submit(self._reader.read, self._index.groups[group])

    def _take(self, row: int) -> PlacedRow:
        group, number = int(self._index.group_R[row]), int(self._index.row_R[row])
        arrays = self._held[group].result()
        self._left[group] -= 1
        if not self._left[group] and group not in self._later:
            del self._held[group]
        offsets = arrays.tokens.offsets
        if offsets[number + 1] - offsets[number] != self._index.length_R[row]:
            name = self._index.groups[group].shard.name
            raise DamagedError(
                f"{name}: the segments of row {number} of row group "
                f"{self._index.groups[group].group} do not cover its tokens. Take a fresh copy of "
                "the dump."
            )
        return arrays, number


@contextmanager
def span_reader(reader: ShardReader, index: RowIndex) -> Iterator[SpanReader]:
    """A span reader; what its threads did not begin is dropped at the end."""
    threads = ThreadPoolExecutor(_THREADS)
    try:
        yield SpanReader(reader, index, threads)
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
