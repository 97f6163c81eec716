"""Whether somebody else's dump is what it claims to be: read once before anything is written."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pipeline.foreign_rows import Cleaned, ForeignRow, cleaned, realised
from schemas.errors import DamagedError

SHIFTS = (-1, 0, 1)
_CLEAR = 0.5
"""Nats by which the right shift must beat the others, over so many positions:"""
_ENOUGH = 32
_OVER = 1 + 1e-3


@dataclass(slots=True)
class Health:
    """What was found in a dump of another system.

    Attributes:
        rows: rows read.
        usable: rows that have a position with entries.
        tokens: tokens of the usable rows.
        positions: their positions.
        most: the most entries of a position.
        largest_id: of tokens and entries.
        longest: tokens of the longest row.
        mass: sum over positions of the probability of the entries.
        over_one: positions whose probabilities add up to more than one.
        repeated: entries whose id stood at the position before; left out.
        double_bos: rows that begin with the same token twice, where most begin with that token.
        fingerprint: `sha256:…` over every row's name and tokens.
        scores: per shift the mean log-probability of the token there, unseen ones counted with the
            whole tail.
        shift: the one that fits; None when too little was there to say.
    """

    rows: int = 0
    usable: int = 0
    tokens: int = 0
    positions: int = 0
    most: int = 0
    largest_id: int = 0
    longest: int = 0
    mass: float = 0.0
    over_one: int = 0
    repeated: int = 0
    double_bos: int = 0
    fingerprint: str = ""
    scores: dict[int, float] = field(default_factory=dict)
    shift: int | None = None

    @property
    def mean_mass(self) -> float:
        """Probability of a position's entries together, capped at one."""
        return self.mass / max(1, self.positions)


def examine(rows: Iterable[ForeignRow]) -> Health:
    """Reads every row once.

    Raises:
        DamagedError: at no shift do the entries fit the tokens.
    """
    found, content = Health(), hashlib.sha256()
    sums, counts = dict.fromkeys(SHIFTS, 0.0), dict.fromkeys(SHIFTS, 0)
    firsts: dict[int, int] = {}
    doubled: dict[int, int] = {}
    for row in rows:
        found.rows += 1
        content.update(f"{row.id}:{len(row.input_ids)}:".encode())
        content.update(row.input_ids.astype("<i8").tobytes())
        clean = cleaned(row)
        _count(found, clean)
        if len(row.input_ids) > 1:
            first = int(row.input_ids[0])
            firsts[first] = firsts.get(first, 0) + 1
            doubled[first] = doubled.get(first, 0) + int(row.input_ids[1] == first)
        for shift in SHIFTS:
            score, number = _score(clean, shift)
            sums[shift], counts[shift] = sums[shift] + score, counts[shift] + number
    found.fingerprint = f"sha256:{content.hexdigest()}"
    found.scores = {s: sums[s] / counts[s] if counts[s] else float("nan") for s in SHIFTS}
    found.double_bos = _double_bos(firsts, doubled, found.rows)
    found.shift = _shift(found, counts[0])
    return found


def _count(found: Health, clean: Cleaned) -> None:
    row = clean.row
    found.repeated += clean.repeated
    if not len(row.counts):
        return
    found.usable += 1
    found.tokens += len(row.input_ids)
    found.positions += len(row.counts)
    found.most = max(found.most, int(row.counts.max()))
    found.largest_id = max(found.largest_id, int(row.ids.max()), int(row.input_ids.max()))
    found.longest = max(found.longest, len(row.input_ids))
    found.mass += float(np.minimum(clean.masses, 1).sum())
    found.over_one += int((clean.masses > _OVER).sum())


def _score(clean: Cleaned, shift: int) -> tuple[float, int]:
    """Sum of the log-probabilities of the tokens at a shift; one not kept counts as the tail."""
    row = clean.row
    if not len(row.counts):
        return 0.0, 0
    at = row.positions + 1 + shift
    inside = (at >= 0) & (at < len(row.input_ids))
    tails = np.log(np.maximum(1 - np.minimum(clean.masses, 1), 1e-6))[inside]
    said = realised(row, shift)
    return float(np.where(np.isnan(said), np.minimum(tails, -3), said).sum()), len(said)


def _double_bos(firsts: dict[int, int], doubled: dict[int, int], rows: int) -> int:
    """A text may begin with a word twice; where nearly all begin with one token, that is a BOS."""
    if not firsts:
        return 0
    usual = max(firsts, key=firsts.__getitem__)
    return doubled[usual] if firsts[usual] > 0.9 * rows and rows > 1 else 0


def _shift(found: Health, positions: int) -> int | None:
    if positions < _ENOUGH:
        return None
    order = sorted(SHIFTS, key=lambda shift: -np.nan_to_num(found.scores[shift], nan=-np.inf))
    best, second = (found.scores[shift] for shift in order[:2])
    if best - second < _CLEAR:
        shown = ", ".join(f"{s:+d}: {found.scores[s]:.2f}" for s in SHIFTS)
        raise DamagedError(
            "the distributions do not belong to the tokens at any shift: the mean log-probability "
            f"of the token there is {shown} nat. Tokens and distributions were paired wrongly; "
            "check the tokens' file or its order."
        )
    return order[0]
