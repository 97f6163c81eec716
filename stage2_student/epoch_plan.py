"""One epoch, planned: which rows make up each step, for any rank, worker and cut point alike.

Shapes: R rows of the index.
"""

import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from schemas.errors import InputError
from stage2_student.curriculum import Phase
from stage2_student.mixture import Draw, Mixture
from stage2_student.order import SPAN_TOKENS, StepOrder, share, shuffled_rows
from stage2_student.packing import Packs, one_per_pack, pack
from stage2_student.row_index import RowIndex

Ints = npt.NDArray[np.int64]

_PASSES_OF_A_PHASE = 1 << 32
"""Numbers of passes set apart for each phase, so that no two phases have the same order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSettings:
    """What decides the order of the samples; ranks and workers do not.

    Attributes:
        rows_per_step: rows of a batch over all ranks and accumulation steps.
        max_length: tokens of a packed row.
        packing: several documents in a row; otherwise one.
        shuffle: a new order in every pass; otherwise the dumps' own.
        seed: of the order.
        mixture: how often what is read.
        phases: of the curriculum; the last one has no end.
        span_tokens: tokens of a span, which are held in memory together.
    """

    rows_per_step: int
    max_length: int
    packing: bool
    shuffle: bool
    seed: int
    mixture: Mixture = field(default_factory=Mixture)
    phases: tuple[Phase, ...] = (Phase(),)
    span_tokens: int = SPAN_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EpochPlan:
    """The steps of one epoch; members of a pack are rows of the index.

    Attributes:
        packs: the packed rows.
        order: which packs make up each step.
        tokens: of the epoch, those of repeated rows repeatedly.
        max_length: tokens of a packed row.
        last: nothing is left after this epoch.
    """

    packs: Packs
    order: StepOrder
    tokens: int
    max_length: int
    last: bool

    @property
    def steps(self) -> int:
        """Steps of the epoch."""
        return self.order.steps

    @property
    def fill(self) -> float:
        """Share of the packed rows' places that hold a token: the packing's efficiency."""
        return self.tokens / max(1, len(self.packs) * self.max_length)

    def rows(self, step: int, part: int, parts: int) -> list[Ints]:
        """Per packed row the rows of the index in it, for one of `parts` shares of a step."""
        return [self.packs.of(p) for p in share(self.order.step(step), part, parts).tolist()]


class EpochPlans:
    """The plans of an index, each made once; the last two are kept. For several threads.

    Raises:
        ConfigError: a phase gives a weight to a dump without rows.
        InputError: a phase leaves nothing to read.
    """

    def __init__(self, index: RowIndex, settings: OrderSettings) -> None:
        self._index = index
        self._settings = settings
        self._draws = [_draw(index, settings.mixture, phase) for phase in settings.phases]
        self._lock = threading.Lock()
        self._made: dict[tuple[int, int], EpochPlan] = {}

    def of(self, epoch: int, phase: int = 0) -> EpochPlan:
        """The plan of one epoch (from 0) of a phase.

        Raises:
            ConfigError: a row is longer than `max_length`.
        """
        with self._lock:
            if (phase, epoch) not in self._made:
                self._made = dict(list(self._made.items())[-1:])
                self._made[phase, epoch] = self._plan(epoch, phase)
            return self._made[phase, epoch]

    def shares(self, phase: int) -> dict[str, float]:
        """What each part of the mixture gets of the tokens in a phase."""
        draw = self._draws[phase]
        return dict(zip(draw.names, draw.shares.tolist(), strict=True))

    def _plan(self, epoch: int, phase: int) -> EpochPlan:
        index, settings = self._index, self._settings

        def order(rows: Ints, number: int) -> Ints:
            if not settings.shuffle:
                return rows
            groups, passes = index.group_R[rows], phase * _PASSES_OF_A_PHASE + number
            return rows[shuffled_rows(groups, len(index.groups), settings.seed, passes)]

        order_R = self._draws[phase].rows(epoch, order)
        lengths = index.length_R[order_R]
        found = (
            pack(lengths, settings.max_length) if settings.packing else one_per_pack(len(lengths))
        )
        return EpochPlan(
            packs=Packs(offsets=found.offsets, members=order_R[found.members]),
            order=StepOrder(
                len(found), settings.rows_per_step, settings.max_length, settings.span_tokens
            ),
            tokens=int(lengths.sum()),
            max_length=settings.max_length,
            last=self._draws[phase].exhausted(epoch + 1),
        )


def _draw(index: RowIndex, mixture: Mixture, phase: Phase) -> Draw:
    """The rows that a phase reads."""
    least, most = phase.min_tokens or 0, phase.max_tokens
    fits_R = index.length_R >= least
    if most is not None:
        fits_R &= index.length_R <= most
    if not fits_R.any():
        raise InputError(
            f"the phase of curriculum until step {phase.until} leaves nothing to read: the "
            f"{len(index):,} rows have {index.length_R.min():,} to {index.length_R.max():,} "
            f"tokens, and it takes {least:,} to {most or 'any number of'}. Widen it."
        )
    return Draw(index, mixture.in_phase(phase), np.flatnonzero(fits_R))
