"""A row of somebody else's dump, and what becomes of it here.

Shapes: L tokens, P positions, E entries of all positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stage1_teacher.samples import Ragged, Sample, Segment, Signals

Doubles = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]

ABSENT = -500.0
"""Log-probabilities at or below this are fillers, however a system writes them."""

_FLOOR = 1e-9
_MOST = 1 - 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForeignRow:
    """One sequence with sparse distributions, as its system claims them to be aligned.

    Attributes:
        id: its name here.
        source: file that it is from.
        input_ids: [L].
        positions: [P] ascending; position t is claimed to predict token t+1.
        counts: [P] entries of each position.
        ids: [E].
        logprobs: [E] log-probabilities over the whole vocabulary.
    """

    id: str
    source: str
    input_ids: Longs
    positions: Longs
    counts: Longs
    ids: Longs
    logprobs: Doubles

    @property
    def owners(self) -> Longs:
        """[E] which position an entry is of."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """A row with fillers, repeated ids and positions without entries left out, most probable first.

    `repeated` counts entries whose id stood at the position before; `masses` [P] is Σ p.
    """

    row: ForeignRow
    repeated: int
    masses: Doubles


def cleaned(row: ForeignRow, shift: int = 0) -> Cleaned:
    """Makes a row's entries what FORMAT.md asks for, and moves its positions by `shift`."""
    there = np.isfinite(row.logprobs) & (row.logprobs > ABSENT) & (row.ids >= 0)
    owners, ids, logprobs = row.owners[there], row.ids[there], row.logprobs[there]
    order = np.lexsort((ids, -logprobs, owners))
    owners, ids, logprobs = owners[order], ids[order], logprobs[order]
    first = _first_of_each(owners, ids)
    repeated = int((~first).sum())
    owners, ids, logprobs = owners[first], ids[first], logprobs[first]
    positions = row.positions + shift
    inside = (positions >= 0) & (positions < len(row.input_ids) - 1)
    counts = np.bincount(owners, minlength=len(positions)) * inside
    kept = counts > 0
    stay = kept[owners]
    sums = np.bincount(owners[stay], np.exp(logprobs[stay]), minlength=len(positions))
    masses: Doubles = np.asarray(sums[kept], np.float64)
    found = ForeignRow(
        id=row.id,
        source=row.source,
        input_ids=row.input_ids,
        positions=positions[kept],
        counts=counts[kept],
        ids=ids[stay],
        logprobs=logprobs[stay],
    )
    return Cleaned(row=found, repeated=repeated, masses=masses)


def _first_of_each(owners: Longs, ids: Longs) -> npt.NDArray[np.bool_]:
    """Whether an entry is its position's first one with its id."""
    if not len(ids):
        return np.zeros(0, np.bool_)
    keys = owners * (int(ids.max()) + 1) + ids
    first = np.zeros(len(keys), np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    return first


def realised(row: ForeignRow, shift: int) -> Doubles:
    """[≤P] log-probability of the token at each position's shift; NaN where it is not kept."""
    at = row.positions + 1 + shift
    inside = (at >= 0) & (at < len(row.input_ids))
    wanted = np.where(inside, row.input_ids[np.clip(at, 0, len(row.input_ids) - 1)], -1)
    hits = row.ids == np.repeat(wanted, row.counts)
    found = np.full(len(row.counts), np.nan)
    found[row.owners[hits]] = row.logprobs[hits]
    return found[inside]


def sample_row(found: Cleaned) -> tuple[Sample, Signals]:
    """A cleaned row as a sample with its signals.

    The mass outside the kept entries is what they leave of one. Of a realised token that is not
    kept nothing is known but that it is no more probable than that.
    """
    row = found.row
    offsets = np.concatenate([[0], np.cumsum(row.counts)])
    tails = np.log(np.maximum(1 - np.minimum(found.masses, _MOST), _FLOOR))
    largest = row.logprobs[offsets[:-1]]
    # renormalised heads decode to themselves: their tail is the floor
    own = realised(row, 0)
    kept = own - np.log(found.masses) + np.log1p(-np.exp(tails))
    token_logprobs = np.where(np.isnan(own), tails, np.minimum(kept, 0))
    positions = len(row.counts)
    signals = Signals(
        topk=Ragged(
            offsets=offsets,
            ids=row.ids.astype(np.int32),
            logits=(row.logprobs - np.repeat(largest, row.counts)).astype(np.float32),
        ),
        tail=Ragged(
            offsets=np.zeros(positions + 1, np.int64),
            ids=np.zeros(0, np.int32),
            logits=np.zeros(0, np.float32),
        ),
        tail_logmass=tails[:, None].astype(np.float32),
        max_logit=np.zeros(positions, np.float32),
        token_logprobs=token_logprobs.astype(np.float32),
    )
    return _sample(row), signals


def _sample(row: ForeignRow) -> Sample:
    length = len(row.input_ids)
    return Sample(
        id=row.id,
        source=row.source,
        input_ids=row.input_ids.astype(np.int32),
        segments=(Segment(kind="text", start=0, end=length),),
        captured=tuple(_spans(row.positions)),
    )


def _spans(positions: Longs) -> Iterator[tuple[int, int]]:
    """Half-open runs of consecutive positions."""
    breaks = np.flatnonzero(np.diff(positions) != 1) + 1
    for part in np.split(positions, breaks):
        if len(part):
            yield int(part[0]), int(part[-1]) + 1
