"""A row as tokens, and how one that is too long becomes windows, or is cut.

Shapes: L tokens of a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from schemas.errors import ConfigError
from stage1_teacher.samples import Ints, Segment

KINDS = ("template", "text", "system", "prompt", "response", "tool")
"""Kinds of segments that come out of a corpus."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTokens:
    """A row as the teacher sees it.

    Attributes:
        ids: [L] token ids.
        kinds: [L] what each token is, as an index into `KINDS`.
        learned: [L] whether the student shall learn to say the token; position t-1 is captured
            for a learned token t.
        head: how many tokens at the start every window repeats: the BOS token, where there is one.
    """

    ids: Ints
    kinds: npt.NDArray[np.int8]
    learned: npt.NDArray[np.bool_]
    head: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Runs of tokens of the same kind; they tile the sequence."""
        bounds = [0, *(np.flatnonzero(np.diff(self.kinds)) + 1).tolist(), len(self)]
        spans = pairwise(bounds)
        return tuple(Segment(kind=KINDS[self.kinds[s]], start=s, end=e) for s, e in spans if s < e)

    @property
    def captured(self) -> tuple[Span, ...]:
        """Spans of positions that predict a learned token; the first token has none before it."""
        edges = np.diff(self.learned[1:].astype(np.int8), prepend=0, append=0)
        starts, ends = np.flatnonzero(edges > 0).tolist(), np.flatnonzero(edges < 0).tolist()
        return tuple(zip(starts, ends, strict=True))


def cut(row: RowTokens, length: int) -> RowTokens:
    """The first `length` tokens."""
    return RowTokens(
        ids=row.ids[:length],
        kinds=row.kinds[:length],
        learned=row.learned[:length],
        head=row.head,
    )


def windows(row: RowTokens, length: int, overlap: int) -> Iterator[RowTokens]:
    """Windows of at most `length` tokens that capture every position of the row exactly once.

    A window begins with the row's head (BOS), then repeats `overlap` + 1 tokens of the one before.
    The last of these is where the window before had no realised token to go by: it is the first
    position captured, and the others are its context. So windows advance by
    length − head − 1 − overlap tokens.

    Raises:
        ConfigError: the overlap leaves no room to advance.
    """
    if len(row) <= length:
        yield row
        return
    step = length - row.head - 1 - overlap
    if step < 1:
        raise ConfigError(
            f"window_overlap {overlap} leaves no room in windows of {length} tokens. "
            f"Give at most {length - row.head - 2}."
        )
    yield cut(row, length)
    head = np.arange(row.head)
    for done in range(length, len(row), step):
        body = np.arange(done - 1 - overlap, min(done + step, len(row)))
        index = np.concatenate([head, body])
        yield RowTokens(
            ids=row.ids[index],
            kinds=row.kinds[index],
            learned=row.learned[index] & (index >= done),
            head=row.head,
        )
