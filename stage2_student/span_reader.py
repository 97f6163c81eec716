"""The row groups that a rank needs during one span of steps, each read once and then let go."""

import numpy as np
import numpy.typing as npt

from schemas.errors import DamagedError
from stage2_student.row_index import RowIndex
from stage2_student.shard_reader import GroupArrays, ShardReader

Ints = npt.NDArray[np.int64]
PlacedRow = tuple[GroupArrays, int]
"""A row: the group that holds it, and its number there."""


class SpanReader:
    """Gives rows; a group is read at its first row and dropped after its last expected one."""

    def __init__(self, reader: ShardReader, index: RowIndex) -> None:
        self._reader = reader
        self._index = index
        self._left: dict[int, int] = {}
        self._held: dict[int, GroupArrays] = {}

    def expect(self, rows: Ints) -> None:
        """Says which rows of the index are going to be taken, each once."""
        groups, counts = np.unique(self._index.group_R[rows], return_counts=True)
        self._left = dict(zip(groups.tolist(), counts.tolist(), strict=True))
        self._held = {g: arrays for g, arrays in self._held.items() if g in self._left}

    def take(self, rows: Ints) -> list[PlacedRow]:
        """The expected rows with these numbers in the index.

        Raises:
            DamagedError: a shard cannot be read, or changed since the index was made.
        """
        return [self._take(row) for row in rows.tolist()]

    def _take(self, row: int) -> PlacedRow:
        group, number = int(self._index.group_R[row]), int(self._index.row_R[row])
        if group not in self._held:
            self._held[group] = self._reader.read(self._index.groups[group])
        arrays = self._held[group]
        self._left[group] -= 1
        if not self._left[group]:
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
