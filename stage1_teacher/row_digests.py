"""Which rows were seen: 16 bytes of every row's hash, sorted, in memory or in a file."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

BYTES = 16
"""Of a row's sha256: two of 10^12 rows share them with a probability below 10^-14."""

Digests = npt.NDArray[np.bytes_]


class SeenRows:
    """A set of digests that grows: runs of doubling size, so that adding n costs n log n.

    16 bytes a row; 100 million rows take 1.6 GB while new ones are looked for.
    """

    def __init__(self) -> None:
        self._runs: list[Digests] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add_new(self, digests: Digests) -> npt.NDArray[np.bool_]:
        """Adds digests; says of each whether it was new, of equal ones only of the first."""
        unique, first = np.unique(digests, return_index=True)
        fresh = ~self._holds(unique)
        new = np.zeros(len(digests), np.bool_)
        new[first[fresh]] = True
        self._add(unique[fresh])
        return new

    def add_file(self, path: Path) -> None:
        """Adds the digests of a file."""
        self._add(np.unique(np.frombuffer(path.read_bytes(), f"S{BYTES}")))

    def _holds(self, digests: Digests) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(digests), np.bool_)
        for run in self._runs:
            at = np.searchsorted(run, digests).clip(max=len(run) - 1)
            found |= run[at] == digests
        return found

    def _add(self, run: Digests) -> None:
        """Merges runs that are not longer, so that there are few of them."""
        while self._runs and len(self._runs[-1]) <= len(run):
            run = np.union1d(self._runs.pop(), run)
        if len(run):
            self._runs.append(run)


def as_digests(hashes: list[bytes]) -> Digests:
    """The beginnings of sha256 digests."""
    return np.frombuffer(b"".join(h[:BYTES] for h in hashes), f"S{BYTES}")
