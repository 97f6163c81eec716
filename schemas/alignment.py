"""The alignment self-test: are the stored signals those of the position where they stand?

At a captured position t the log-probability of the realised token t+1 is stored exactly, and can
also be read from the kept entries. At shift 0 the two must agree within what rounding allows; read
for token t+1±1 instead they must not. Signals that slipped by one position fail at shift 0 and
agree at the shift by which they slipped.

Shapes: P captured positions, E kept entries, C compared positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.codec_gap5 import bound
from schemas.manifest import Alignment
from schemas.row_group import Offsets, RowGroup

Doubles = npt.NDArray[np.float64]
Tokens = npt.NDArray[np.int32]

SHIFTS = (-1, 0, 1)

TAIL_SLACK = 5e-3
"""What rounding tail masses (half a step of 1/256) and fp32 sums may add to a log-probability."""

_TELLING = 8.0
"""A position tells shifts apart when its kept logits span this many rounding bounds."""

_ENOUGH = 32
"""Below so many telling positions, agreement at a wrong shift may be chance."""

_BLOCK = 1 << 16
"""Entries read at once, about."""


@dataclass(slots=True)
class _Shift:
    """Sums at one shift: positions compared and their error; telling ones and how many agree."""

    compared: int = 0
    error: float = 0.0
    telling: int = 0
    agreeing: int = 0


@dataclass(slots=True)
class AlignmentTest:
    """Accumulates over row groups; memory does not grow.

    Attributes:
        wrong: positions whose two values differ by more than rounding allows.
        worst: the largest difference, in nats.
        outside: positions whose token is not kept, yet more probable than the whole tail.
    """

    wrong: int = 0
    worst: float = 0.0
    outside: int = 0
    _shifts: dict[int, _Shift] = field(default_factory=lambda: {s: _Shift() for s in SHIFTS})

    def add(self, table: pa.Table) -> None:
        """Adds one row group whose values passed `check_values`."""
        self.add_group(RowGroup.of(table))

    def add_group(self, group: RowGroup) -> None:
        """The same for arrays."""
        if not len(group.positions.values):
            return
        targets = _targets(group)
        for block in _blocks(group.topk_logits.inner):
            read = _Reading.of(group, targets, block)
            for shift in SHIFTS:
                self._add_shift(read, shift)

    def result(self) -> Alignment:
        """Mean |stored − read| at each shift; None where nothing could be compared."""
        means = {
            s: sums.error / sums.compared if sums.compared else None
            for s, sums in self._shifts.items()
        }
        return Alignment(
            positions=self._shifts[0].compared,
            shift_minus_1=means[-1],
            shift_0=means[0],
            shift_plus_1=means[1],
        )

    def problems(self) -> list[str]:
        """What fails, in words; empty when the test passes, also when nothing was compared."""
        found = []
        if self.wrong:
            found.append(
                f"at {self.wrong} of {self._shifts[0].compared} compared positions the realised "
                f"token's log-probability is not the one of the kept entries (off by up to "
                f"{self.worst:.3g} nats){self._slipped()}"
            )
        if self.outside:
            found.append(
                f"at {self.outside} positions the realised token is not kept, yet more probable "
                "than everything outside the kept entries"
            )
        return found + [
            f"the entries agree as well with the token at shift {shift:+d}"
            for shift in (-1, 1)
            if not found and self._agrees(shift)
        ]

    def _slipped(self) -> str:
        shifts = [f"{shift:+d}" for shift in (-1, 1) if self._agrees(shift)]
        return f"; they belong to shift {' or '.join(shifts)}" if shifts else ""

    def _agrees(self, shift: int) -> bool:
        sums = self._shifts[shift]
        return sums.telling >= _ENOUGH and 2 * sums.agreeing > sums.telling

    def _add_shift(self, read: "_Reading", shift: int) -> None:
        entries = np.flatnonzero(read.ids == read.targets[:, SHIFTS.index(shift)])
        which, logits = read.owner[entries], read.logits[entries]
        errors = np.abs(logits - read.expected[which])
        agree = errors <= bound(logits) + read.allowed[which]
        sums, telling = self._shifts[shift], read.telling[which]
        sums.compared += len(which)
        sums.error += float(errors.sum())
        sums.telling += int(telling.sum())
        sums.agreeing += int((agree & telling).sum())
        if shift == 0:
            self.wrong += int((~agree).sum())
            self.worst = max(self.worst, float(errors[~agree].max(initial=0.0)))
            lost = read.above_tail.copy()
            lost[which] = False
            self.outside += int(lost.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What the kept entries of a block say; over all of them in float32, as they are many.

    Attributes:
        targets: [E, 3] the tokens that each entry's position is compared with.
        owner: [E] that position.
        ids: [E] its token.
        logits: [E] its logit.
        expected: [P] the logit that the realised token's stored log-probability stands for.
        allowed: [P] how far a logit may be off besides its own rounding: what that of the others
            moves the normaliser, and of the tail.
        telling: [P] whether the entries differ enough to tell tokens apart.
        above_tail: [P] whether the realised token is more probable than all that is not kept.
    """

    targets: Tokens
    owner: Tokens
    ids: npt.NDArray[np.int32]
    logits: npt.NDArray[np.float32]
    expected: Doubles
    allowed: Doubles
    telling: npt.NDArray[np.bool_]
    above_tail: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, group: RowGroup, targets: Tokens, block: slice) -> "_Reading":
        inner = group.topk_logits.inner[block.start : block.stop + 1]
        entries = slice(inner[0], inner[-1])
        logits, inner = group.topk_logits.values[entries], inner - inner[0]
        counts, tail = np.diff(inner), group.tail_logmass.values[block].astype(np.float64)
        realised = group.token_logprobs.values[block].astype(np.float64)
        weights, errors = np.exp(logits), bound(logits)
        total = np.add.reduceat(weights, inner[:-1], dtype=np.float64)
        errors *= weights
        drift = np.add.reduceat(errors, inner[:-1], dtype=np.float64) / total
        lasts = logits[inner[1:] - 1]
        repeated = np.repeat(_numbered(targets[block]), counts, axis=0)
        return cls(
            targets=repeated[:, :-1],
            owner=repeated[:, -1],
            ids=group.topk_ids.values[entries],
            logits=logits,
            expected=realised + np.log(total) - np.log1p(-np.exp(tail)),
            allowed=drift + TAIL_SLACK,
            telling=-lasts >= _TELLING * bound(lasts),
            above_tail=realised > tail + TAIL_SLACK,
        )


def _blocks(inner: Offsets) -> Iterator[slice]:
    """Positions whose entries are few enough that the temporaries stay in the processor's cache."""
    count, entries = len(inner) - 1, int(inner[-1])
    step = max(1, count * _BLOCK // max(1, entries))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _targets(group: RowGroup) -> Tokens:
    """[P, 3] the token that each position is compared with at each shift; −1 for none.

    None is outside the row, and at shifts ±1 where it is the realised token.
    """
    lengths = np.diff(group.tokens.offsets)
    rows = np.repeat(np.arange(len(lengths)), np.diff(group.positions.offsets))
    starts, ends = group.tokens.offsets[rows], group.tokens.offsets[rows + 1]
    realised = starts + group.positions.values + 1
    targets = np.empty((len(realised), len(SHIFTS)), np.int32)
    for column, shift in enumerate(SHIFTS):
        place = realised + shift
        tokens = group.tokens.values.take(place, mode="clip")
        none = (place < starts) | (place >= ends)
        if shift:
            none |= tokens == group.tokens.values[realised]
        targets[:, column] = np.where(none, np.int32(-1), tokens)
    return targets


def _numbered(targets: Tokens) -> Tokens:
    """[P, 4] with the position behind its targets: four numbers are repeated as fast as one."""
    numbers = np.arange(len(targets), dtype=np.int32)
    return np.column_stack([targets, numbers])


def merged_alignment(parts: Sequence[Alignment]) -> Alignment:
    """The self-test over several shards: means weighted by the positions that each compared."""
    return Alignment(
        positions=sum(part.positions for part in parts),
        shift_minus_1=_mean([(p.positions, p.shift_minus_1) for p in parts]),
        shift_0=_mean([(p.positions, p.shift_0) for p in parts]),
        shift_plus_1=_mean([(p.positions, p.shift_plus_1) for p in parts]),
    )


def _mean(parts: Sequence[tuple[int, float | None]]) -> float | None:
    known = [(weight, value) for weight, value in parts if value is not None]
    total = sum(weight for weight, _ in known)
    return sum(weight * value for weight, value in known) / total if total else None
