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
from stage2_student.read_ahead import with_next
from stage2_student.row_index import RowIndex
from stage2_student.shard_reader import ShardReader, Wanted
from stage2_student.span_reader import span_reader

Ints = npt.NDArray[np.int64]

_NONE: Ints = np.zeros(0, np.int64)


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Span:
    """Steps whose row groups are held together, and the rows of them that this rank takes."""

    plan: EpochPlan
    epoch: int
    steps: range
    rows: Ints


class BatchMaker:
    """Makes batches; holds no state between two calls."""

    def __init__(
        self, dumps: Sequence[DumpFolder], index: RowIndex, plans: EpochPlans, reading: Reading
    ) -> None:
        self._dumps = dumps
        self._index = index
        self._plans = plans
        self._reading = reading
        self._width = dumps[0].manifest.capture.stored_width

    def batches(self, stretches: Iterator[Stretch]) -> Iterator[Batch]:
        """The batches of stretches of steps; every step gives one batch per part."""
        parts, of_parts = self._reading.parts, self._reading.of_parts
        spans = with_next(self._spans(stretches))
        with span_reader(ShardReader(self._dumps, self._reading.wanted), self._index) as rows:
            for span, following in spans:
                rows.expect(span.rows, following.rows if following else _NONE)
                for step in span.steps:
                    for part in parts:
                        taken = [rows.take(row) for row in span.plan.rows(step, part, of_parts)]
                        yield collate(taken, self._shape(span.epoch, step))

    def _spans(self, stretches: Iterator[Stretch]) -> Iterator[_Span]:
        for stretch in stretches:
            plan, step = self._plans.of(stretch.epoch, stretch.phase), stretch.first
            while step < stretch.end:
                steps = range(step, min(stretch.end, plan.order.span_end(step)))
                rows = self._own_rows(plan, steps)
                yield _Span(plan=plan, epoch=stretch.epoch, steps=steps, rows=rows)
                step = steps.stop

    def _own_rows(self, plan: EpochPlan, steps: range) -> Ints:
        own = [
            row
            for step in steps
            for part in self._reading.parts
            for row in plan.rows(step, part, self._reading.of_parts)
        ]
        return np.concatenate([_NONE, *own])

    def _shape(self, epoch: int, step: int) -> BatchShape:
        return BatchShape(
            length=self._reading.length,
            draws_per_unit=self._draws(),
            temperatures=self._reading.wanted.temperatures,
            weigh_by=self._reading.wanted.weights.teacher,
            hidden=dict.fromkeys(self._reading.wanted.hidden, self._width),
            epoch=epoch,
            step=step,
        )

    def _draws(self) -> int:
        stored = self._dumps[0].manifest.capture.tail_samples
        return stored if self._reading.wanted.tail_sample else 0
