"""How a corpus is cut into units, and how a worker comes to the rows of the unit it computes."""

from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import Generic, TypeVar

from schemas.errors import CorpusError
from schemas.plan import RowRange

Row = TypeVar("Row")


def unit_ranges(rows: int, unit_size: int) -> list[RowRange]:
    """Half-open ranges of at most `unit_size` rows, their sizes differing by at most one."""
    count = -(-rows // unit_size)
    bounds = [unit * rows // count for unit in range(count + 1)] if count else []
    return list(pairwise(bounds))


class RowCursor(Generic[Row]):
    """Reads a corpus forward, so that all units cost one pass, and never holds more than a unit.

    Args of the constructor:
        open_rows: starts reading at the first row.
    """

    def __init__(self, open_rows: Callable[[], Iterator[Row]]) -> None:
        self._open_rows = open_rows
        self._rows = open_rows()
        self._next = 0

    def rows(self, start: int, end: int) -> list[Row]:
        """Rows start to end; begins again at the first row when `start` lies behind.

        Raises:
            CorpusError: the corpus has become shorter than when it was counted.
        """
        if start < self._next:
            self._rows, self._next = self._open_rows(), 0
        found = list(islice(self._rows, start - self._next, end - self._next))
        self._next = end
        if len(found) != end - start:
            raise CorpusError(
                f"the corpus ended before row {end}, which it had when it was counted. It changed "
                "while it was read: leave it as it is and run the same command again."
            )
        return found
