"""The batches of one rank in an epoch, from any step on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.dump_folder import DumpFolder
from stage2_student.batch import Batch
from stage2_student.collate import BatchShape, collate
from stage2_student.course import Stretch
from stage2_student.epoch_plan import EpochPlan, EpochPlans
from stage2_student.row_index import RowIndex
from stage2_student.shard_reader import ShardReader, Wanted
from stage2_student.span_reader import SpanReader

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one rank makes of a step.

    Attributes:
        parts: its shares of the step, one per micro-batch.
        of_parts: shares that a step is cut into, over all ranks.
        length: of every row; None for the longest of the batch.
        wanted: what of a row is read.
    """

    parts: range
    of_parts: int
    length: int | None
    wanted: Wanted


class BatchMaker:
    """Makes batches; holds no state between two calls."""

    def __init__(
        self, dumps: Sequence[DumpFolder], index: RowIndex, plans: EpochPlans, reading: Reading
    ) -> None:
        self._dumps = dumps
        self._index = index
        self._plans = plans
        self._reading = reading

    def batches(self, stretch: Stretch) -> Iterator[Batch]:
        """The batches of some steps; every step gives one batch per part."""
        plan = self._plans.of(stretch.epoch, stretch.phase)
        rows = SpanReader(ShardReader(self._dumps, self._reading.wanted), self._index)
        for step in range(stretch.first, stretch.end):
            if step in (stretch.first, plan.order.span_start(step)):
                end = min(stretch.end, plan.order.span_end(step))
                rows.expect(self._own_rows(plan, range(step, end)))
            for part in self._reading.parts:
                taken = [rows.take(row) for row in plan.rows(step, part, self._reading.of_parts)]
                yield collate(taken, self._shape(stretch.epoch, step))

    def _own_rows(self, plan: EpochPlan, steps: range) -> Ints:
        own = [
            row
            for step in steps
            for part in self._reading.parts
            for row in plan.rows(step, part, self._reading.of_parts)
        ]
        return np.concatenate([np.zeros(0, np.int64), *own])

    def _shape(self, epoch: int, step: int) -> BatchShape:
        return BatchShape(
            length=self._reading.length,
            draws_per_unit=self._draws(),
            temperatures=self._reading.wanted.temperatures,
            weigh_by=self._reading.wanted.weights.teacher,
            epoch=epoch,
            step=step,
        )

    def _draws(self) -> int:
        stored = self._dumps[0].manifest.capture.tail_samples
        return stored if self._reading.wanted.tail_sample else 0
