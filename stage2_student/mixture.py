"""How often the parts of the data are read: mixtures of dumps or of sources.

A part is read pass after pass, each pass a new order of its rows, and an epoch takes the next
stretch of every part. It has as many tokens as all the parts together, of which each has its share;
so a part whose share is larger than its size is passed over more than once in an epoch, a smaller
one in several epochs, and no row of a part comes again before all of its rows came. Without weights
an epoch is one pass over everything.

Shapes: R rows of the index, C parts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import ConfigError
from stage2_student.curriculum import Phase
from stage2_student.row_index import RowIndex

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_ROUNDING = 1e-6
"""Shares are quotients: a whole number of rows must not come out just below."""

Order = Callable[[Ints, int], Ints]
"""Some rows of the index in the order of their pass with a number (from 0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """What decides the shares; the parts are the dumps with weights, otherwise the sources.

    Attributes:
        dump_weights: per dump its share of the tokens, in any unit; none for the dumps as they are.
        temperature: shares of the sources go with their tokens to the power 1/temperature: 1 takes
            them as they are, a larger one brings them closer together.
        max_passes: no part is passed over more often; then the others go on without it.
    """

    dump_weights: tuple[float, ...] = ()
    temperature: float | None = None
    max_passes: int | None = None

    @property
    def by_source(self) -> bool:
        """Whether the parts are the sources."""
        return not self.dump_weights and bool(self.temperature or self.max_passes)

    def in_phase(self, phase: Phase) -> "Mixture":
        """The mixture with the weights of a phase, if it has any."""
        return replace(self, dump_weights=phase.dump_weights or self.dump_weights)


class Draw:
    """The rows of every epoch of a mixture.

    Attributes:
        names: of the parts.
        shares: [C] of the tokens.
    """

    def __init__(self, index: RowIndex, mixture: Mixture, eligible: Ints) -> None:
        self._group_R = index.group_R
        part_R, names = _parts(index, mixture)
        self.names = names
        own = part_R[eligible]
        self._rows = [eligible[own == part] for part in range(len(names))]
        tokens_C = np.asarray([index.length_R[rows].sum() for rows in self._rows], float)
        self.shares = _shares(mixture, tokens_C, names)
        counts = np.asarray([len(rows) for rows in self._rows], float)
        read = tokens_C[self.shares > 0].sum()
        self._per_epoch_C = self.shares * read / np.maximum(tokens_C, 1) * counts
        passes = mixture.max_passes
        self._most_C = (
            counts * (self.shares > 0) * passes if passes else np.full(len(names), np.inf)
        )

    def rows(self, epoch: int, order: Order) -> Ints:
        """The rows of an epoch (from 0) in their order; a row may come more than once."""
        none = np.zeros(0, np.int64)
        found, places = [none], [none.astype(float)]
        for part, (first, end) in enumerate(
            zip(self._taken(epoch), self._taken(epoch + 1), strict=True)
        ):
            own, passes = self._stretch(part, int(first), int(end), order)
            found.append(own)
            places.append(_places(self._group_R[own], passes))
        rows: Ints = np.concatenate(found)
        return rows[np.argsort(np.concatenate(places), kind="stable")]

    def exhausted(self, epoch: int) -> bool:
        """Whether nothing is left for an epoch and all after it."""
        return bool((self._taken(epoch) >= self._most_C).all())

    def _taken(self, epoch: int) -> Ints:
        """[C] rows that all epochs before this one took."""
        exact = np.floor(epoch * self._per_epoch_C + _ROUNDING)
        taken: Ints = np.minimum(exact, self._most_C).astype(np.int64)
        return taken

    def _stretch(self, part: int, first: int, end: int, order: Order) -> tuple[Ints, Ints]:
        """Rows first to end of a part's passes, one after the other, and the pass of each."""
        none = np.zeros(0, np.int64)
        rows, passes = [none], [none]
        while first < end:
            number, start = divmod(first, len(self._rows[part]))
            rows.append(order(self._rows[part], number)[start : start + end - first])
            passes.append(np.full(len(rows[-1]), number))
            first += len(rows[-1])
        return np.concatenate(rows), np.concatenate(passes)


def mixture_of(settings: Any) -> Mixture:
    """What the settings of a training say."""
    return Mixture(
        dump_weights=tuple(settings.dump_weights),
        temperature=settings.mix_temperature,
        max_passes=settings.max_passes,
    )


def check_mixture(mixture: Mixture, dumps: int) -> None:
    """Checks weights against the number of dumps.

    Raises:
        ConfigError: there are more or fewer of them.
    """
    weights = mixture.dump_weights
    if weights and len(weights) != dumps:
        raise ConfigError(
            f"dump_weights has {len(weights)} numbers for {dumps} dump{'s' * (dumps != 1)}. Give "
            "one for each, in the order of --dump; those of a pattern are in the order of their "
            "names."
        )


def _parts(index: RowIndex, mixture: Mixture) -> tuple[Ints, Sequence[str]]:
    """[R] the part of each row, and what the parts are called."""
    if mixture.dump_weights:
        dumps = np.asarray([group.dump for group in index.groups], np.int64)
        return dumps[index.group_R], [f"dump {n + 1}" for n in range(len(mixture.dump_weights))]
    if mixture.by_source:
        return index.source_R, index.sources
    return np.zeros(len(index), np.int64), ["all"]


def _shares(mixture: Mixture, tokens_C: Floats, names: Sequence[str]) -> Floats:
    """[C] shares of the tokens, which sum to 1."""
    weights = tokens_C
    if mixture.dump_weights:
        weights = np.asarray(mixture.dump_weights, float)
        empty = [n for n, w, t in zip(names, weights, tokens_C, strict=True) if w and not t]
        if empty:
            raise ConfigError(
                f"{empty[0]} has a weight, and no row of it is left. Give it the weight 0, or "
                "loosen what rows are chosen by."
            )
    elif mixture.temperature is not None:
        weights = tokens_C ** (1 / mixture.temperature) * (tokens_C > 0)
    shares: Floats = weights / weights.sum()
    return shares


def _places(group_R: Ints, pass_R: Ints) -> Floats:
    """[R] where in the epoch, from 0 to 1, rows of a part go; those of a group stay together."""
    if not len(group_R):
        return np.zeros(0)
    new = np.concatenate([[True], (np.diff(group_R) != 0) | (np.diff(pass_R) != 0)])
    starts = np.flatnonzero(new)
    lengths = np.diff(np.concatenate([starts, [len(group_R)]]))
    return np.repeat((starts + lengths / 2) / len(group_R), lengths)
