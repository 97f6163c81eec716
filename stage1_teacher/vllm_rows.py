"""Which rows of a step of vLLM are new, whose they are, and which of them know their next token.

A row is one position of one request. vLLM computes a request in chunks of consecutive positions: a
long prompt in several steps, a generated token in one step each, and after a preemption everything
from position 0 anew. What is captured is keyed by our own number and the absolute position, so a
position counts the first time that it is computed.

A row is reduced together with the token that follows it. The last row of a chunk does not know it
yet: it *waits*, and the first new token of its request's next chunk answers it, or the driver does
when the request has ended. No vLLM and no torch here.

Shapes: N captured rows of a step, A answered rows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from schemas.errors import DamagedError

Index = npt.NDArray[np.int64]
Span = tuple[int, int | None]
"""Half-open positions; None: as far as the request goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a request carries to the worker.

    Attributes:
        key: our number of it, unique among what one driver sends.
        tail_key: of the tail draws' offsets (stage1_teacher/tail_offsets.py).
        captured: half-open, ordered, disjoint spans of positions that carry signals.
        states: whether its hidden states are written, where some are asked for.
    """

    key: int
    tail_key: int
    captured: tuple[Span, ...]
    states: bool = True

    def plain(self) -> dict[str, Any]:
        """As plain values, which travel between processes."""
        return {
            "key": self.key,
            "tail_key": self.tail_key,
            "captured": [list(span) for span in self.captured],
            "states": self.states,
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """The ticket that `plain` gave."""
        spans = tuple((start, end) for start, end in plain["captured"])
        return cls(**{**plain, "captured": spans})


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive positions of one request in a step.

    Attributes:
        request: vLLM's id of the request.
        position: of its first token.
        row: of its first token among the tokens of the step.
        count: how many.
    """

    request: str
    position: int
    row: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRows:
    """What is new in a step.

    Attributes:
        rows: [N] captured rows among the tokens of the step.
        keys: [N] whose they are.
        positions: [N] absolute.
        tail_keys: [N] of the draws' offsets.
        known: [N] the next token is that of the next row; otherwise the row waits.
        answered_keys: [A] keys whose waiting row has its next token in this step.
        answered_rows: [A] the rows of those tokens.
        fresh: key, first row and count of what was computed for the first time, where hidden
            states are written.
    """

    rows: Index
    keys: Index
    positions: Index
    tail_keys: npt.NDArray[np.uint64]
    known: npt.NDArray[np.bool_]
    answered_keys: list[int]
    answered_rows: list[int]
    fresh: list[tuple[int, int, int]]


@dataclass(slots=True)
class _Track:
    """How far a request has come: positions below `done` were seen."""

    ticket: Ticket
    done: int = 0
    waits: bool = False


class RowLedger:
    """Follows requests through steps."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}

    def admit(self, request: str, ticket: Ticket) -> None:
        """A request is under way; a preempted one that comes back is known already."""
        self._tracks.setdefault(request, _Track(ticket))

    def forget(self, requests: Iterable[str]) -> None:
        """These ended."""
        for request in requests:
            self._tracks.pop(request, None)

    def close(self, keys: Iterable[int]) -> None:
        """Requests of these keys are answered: what may still be computed of them is in vain."""
        closed = set(keys)
        self._tracks = {
            request: track
            for request, track in self._tracks.items()
            if track.ticket.key not in closed
        }

    def step(self, chunks: Iterable[Chunk]) -> StepRows:
        """Follows one step; requests that were not admitted are none of ours.

        Raises:
            DamagedError: positions were never computed, as with a prefix cache.
        """
        found = _Collected()
        for chunk in chunks:
            track = self._tracks.get(chunk.request)
            if track is not None:
                _advance(track, chunk, found)
        return found.rows()


class _Collected:
    """The parts of `StepRows`, request by request."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, int, int, Ticket, bool]] = []
        self.answered_keys: list[int] = []
        self.answered_rows: list[int] = []
        self.fresh: list[tuple[int, int, int]] = []

    def rows(self) -> StepRows:
        counts = np.asarray([end - start for start, end, *_ in self.parts], np.int64)
        known = np.ones(counts.sum(), np.bool_)
        ends = np.cumsum(counts)
        waits = np.asarray([waits for *_, waits in self.parts], np.bool_)
        known[ends[waits] - 1] = False
        shifts = np.repeat(np.asarray([p[2] for p in self.parts], np.int64), counts)
        starts = np.asarray([part[0] for part in self.parts], np.int64)
        positions = np.arange(len(known)) + np.repeat(starts - (ends - counts), counts)
        tickets = [part[3] for part in self.parts]
        return StepRows(
            rows=positions + shifts,
            keys=np.repeat(np.asarray([t.key for t in tickets], np.int64), counts),
            positions=positions,
            tail_keys=np.repeat(np.asarray([t.tail_key for t in tickets], np.uint64), counts),
            known=known,
            answered_keys=self.answered_keys,
            answered_rows=self.answered_rows,
            fresh=self.fresh,
        )


def _advance(track: _Track, chunk: Chunk, found: _Collected) -> None:
    """Takes what a chunk adds to a request: from the position that it had not reached yet."""
    start, end = track.done, chunk.position + chunk.count
    if chunk.position > start:
        raise DamagedError(
            f"positions {start} to {chunk.position - 1} of a sequence were never computed. "
            "Switch vLLM's prefix cache and speculative decoding off."
        )
    if end <= start:
        return
    shift = chunk.row - chunk.position
    key = track.ticket.key
    if track.waits:
        found.answered_keys.append(key)
        found.answered_rows.append(start + shift)
    if track.ticket.states:
        found.fresh.append((key, start + shift, end - start))
    track.done, track.waits = end, False
    for low, high in track.ticket.captured:
        first, behind = max(low, start), end if high is None else min(high, end)
        if first < behind:
            track.waits = behind == end
            found.parts.append((first, behind, shift, track.ticket, track.waits))
