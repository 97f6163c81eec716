"""One epoch, planned: which rows make up each step, for any rank, worker and cut point alike.

Shapes: R rows of the index.
"""

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stage2_student.order import StepOrder, share, shuffled_rows
from stage2_student.packing import Packs, one_per_pack, pack
from stage2_student.row_index import RowIndex

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSettings:
    """What decides the order of the samples; ranks and workers do not.

    Attributes:
        rows_per_step: rows of a batch over all ranks and accumulation steps.
        max_length: tokens of a packed row.
        packing: several documents in a row; otherwise one.
        shuffle: a new order in every epoch; otherwise the dumps' own.
        seed: of the order.
    """

    rows_per_step: int
    max_length: int
    packing: bool
    shuffle: bool
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EpochPlan:
    """The steps of one epoch; members of a pack are rows of the index."""

    packs: Packs
    order: StepOrder
    tokens: int
    max_length: int

    @property
    def steps(self) -> int:
        """Steps of the epoch."""
        return self.order.steps

    @property
    def fill(self) -> float:
        """Share of the packed rows' places that hold a token: the packing's efficiency."""
        return self.tokens / (len(self.packs) * self.max_length)

    def rows(self, step: int, part: int, parts: int) -> list[Ints]:
        """Per packed row the rows of the index in it, for one of `parts` shares of a step."""
        return [self.packs.of(p) for p in share(self.order.step(step), part, parts).tolist()]


def plan_epoch(index: RowIndex, settings: OrderSettings, epoch: int) -> EpochPlan:
    """The plan of one epoch (from 0).

    Raises:
        ConfigError: a row is longer than `max_length`.
    """
    order_R = np.arange(len(index))
    if settings.shuffle:
        order_R = shuffled_rows(index.group_R, len(index.groups), settings.seed, epoch)
    lengths = index.length_R[order_R]
    found = pack(lengths, settings.max_length) if settings.packing else one_per_pack(len(index))
    return EpochPlan(
        packs=Packs(offsets=found.offsets, members=order_R[found.members]),
        order=StepOrder(len(found), settings.rows_per_step, settings.max_length),
        tokens=int(lengths.sum()),
        max_length=settings.max_length,
    )


class EpochPlans:
    """The plans of an index, each made once; the last two are kept. For several threads."""

    def __init__(self, index: RowIndex, settings: OrderSettings) -> None:
        self._index = index
        self._settings = settings
        self._lock = threading.Lock()
        self._made: dict[int, EpochPlan] = {}

    def of(self, epoch: int) -> EpochPlan:
        """The plan of one epoch (from 0)."""
        with self._lock:
            if epoch not in self._made:
                self._made = dict(list(self._made.items())[-1:])
                self._made[epoch] = plan_epoch(self._index, self._settings, epoch)
            return self._made[epoch]
