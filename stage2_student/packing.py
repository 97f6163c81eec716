"""Sequences into rows of one length: nothing is dropped, cut or split.

Best fit among a few open rows, of which the oldest is closed when a sequence fits none: close to
optimal (closing the fullest instead fills rows by .3 % better), and a row holds neighbours of the
given order (not so with the fullest), so that few row groups are needed to build it.

Shapes: R sequences, P packs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.errors import ConfigError

Ints = npt.NDArray[np.int64]

OPEN_PACKS = 16
"""Rows open at once; 16 fill rows to 97 % and more, and more of them gain little."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packs:
    """Pack p holds the sequences `members[offsets[p]:offsets[p+1]]`, in this order."""

    offsets: Ints
    members: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, pack: int) -> Ints:
        """The sequences of one pack."""
        return self.members[self.offsets[pack] : self.offsets[pack + 1]]


def pack(lengths: Ints, max_length: int, open_packs: int = OPEN_PACKS) -> Packs:
    """Packs sequences 0, 1, … of these lengths, in this order.

    Raises:
        ConfigError: a sequence is longer than a pack.
    """
    longest = int(lengths.max(initial=0))
    if longest > max_length:
        raise ConfigError(
            f"a sequence of the dump has {longest} tokens, and a packed row {max_length}; nothing "
            f"is cut or dropped. Give --max-length {longest} or more, or dump again with a "
            f"--max-length of {max_length}."
        )
    closed: list[list[int]] = []
    bins: list[list[int]] = []
    spaces: list[int] = []
    for number, length in enumerate(lengths.tolist()):
        best = _tightest(spaces, length)
        if best < 0 and len(bins) >= open_packs:
            closed.append(bins.pop(0))
            spaces.pop(0)
        if best < 0:
            best = len(bins)
            bins.append([])
            spaces.append(max_length)
        bins[best].append(number)
        spaces[best] -= length
        if not spaces[best]:
            closed.append(bins.pop(best))
            spaces.pop(best)
    return _packs(closed + bins)


def one_per_pack(count: int) -> Packs:
    """Every sequence alone, for architectures that cannot keep documents apart."""
    return Packs(offsets=np.arange(count + 1), members=np.arange(count))


def _tightest(spaces: list[int], length: int) -> int:
    best, least = -1, 1 << 62
    for number, space in enumerate(spaces):
        if length <= space < least:
            best, least = number, space
    return best


def _packs(parts: list[list[int]]) -> Packs:
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    members = np.asarray([number for part in parts for number in part], np.int64)
    return Packs(offsets=offsets, members=members)
