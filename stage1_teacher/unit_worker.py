"""Computes units: reads their rows, runs the teacher, writes and commits their shards."""

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from schemas.codecs import CODECS
from schemas.columns import shard_columns
from schemas.progress import Progress
from schemas.storage import Store
from stage1_teacher.commit import Attempt, Work
from stage1_teacher.control import Control
from stage1_teacher.dump_progress import Meter
from stage1_teacher.hidden_tables import hidden_recipe
from stage1_teacher.preparation import Prepared
from stage1_teacher.privacy import finisher
from stage1_teacher.set_aside import Aside, failed, shard_file
from stage1_teacher.shard_writer import CapturedRows, Notes, Recipe, RowSource, write_unit
from stage1_teacher.units import RowCursor


class UnitWorker:
    """A context manager; the teacher is loaded when the first unit is computed.

    Args of the constructor:
        work: the dump.
        prepared: what to run.
        meter: told of progress.
        control: looked at between samples.
        store: of the dump.

    Attributes:
        won: units that this worker committed.
    """

    def __init__(
        self, *, work: Work, prepared: Prepared, meter: Meter, control: Control, store: Store
    ) -> None:
        self.won = 0
        self._work = work
        self._prepared = prepared
        self._meter = meter
        self._control = control
        self._store = store
        self._recipe = _recipe(prepared)
        self._cursor = RowCursor(prepared.rows)
        self._opened = ExitStack()
        self._source: RowSource | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    def compute(self, unit: int) -> None:
        """Computes one unit and commits it, unless somebody else did meanwhile.

        Raises:
            KeyboardInterrupt: somebody asked to stop; the unit is dropped, or is finished.
            StoppedError: the same, by `potstill stop`.
            PotstillError: see its text.
        """
        self._control.check()
        if self._source is None:
            self._source = self._start()
        with self._control.asked.deferred(), self._work.attempt(unit) as attempt:
            self._compute(attempt, self._source)

    def _start(self) -> RowSource:
        """Loads the teacher, and what judges its responses where it writes some."""
        name = self._prepared.settings.teacher.name
        self._meter.report(Progress(stage="load teacher", message=f"loading {name}"))
        self._prepared.engine.start()
        self._meter.start(self._work.rows_done)
        engine, writing = self._prepared.engine, self._prepared.writing
        if writing is None:
            return CapturedRows(engine=engine, recipe=self._recipe)
        return self._opened.enter_context(writing.opened(engine, self._recipe))

    def _compute(self, attempt: Attempt, source: RowSource) -> None:
        start, end = self._work.plan.units[attempt.unit]
        unit = self._prepared.render(self._cursor.rows(start, end))
        self._meter.begin(end - start, sum(map(source.cost, unit.samples)))
        aside = Aside(self._prepared.allowed_failures, lambda: failed(self._work.committed()))
        notes = Notes(aside=aside)
        aside.extend(unit.failures)
        rows = source.rows(unit.samples, notes, self._tick)
        sums = write_unit(attempt, rows, self._recipe, aside)
        counts = sums.counts(
            skipped=unit.skipped,
            truncated=unit.truncated,
            failed=len(aside.failures),
            generation=notes.tally.result() if self._prepared.writing else None,
        )
        if aside.failures:
            self._work.publish(shard_file(attempt.name), aside.lines())
        if attempt.commit(counts):
            self.won += 1
        elif aside.failures:
            self._store.remove(shard_file(attempt.name))
        if attempt.record:
            shard = attempt.record.shard
            self._meter.commit(self._work.rows_done, shard.bytes, shard.tokens)

    def _tick(self, tokens: int) -> None:
        self._meter.tick(tokens)
        waited = self._control.waited
        self._control.check(self._meter.unit_seconds_left)
        self._meter.idle(self._control.waited - waited)


def _recipe(prepared: Prepared) -> Recipe:
    settings = prepared.settings
    capture = settings.capture
    return Recipe(
        capture=capture,
        codec=CODECS[settings.codec],
        columns=shard_columns(capture.temperatures, capture.optional_columns),
        seed=settings.limits.seed,
        hidden=hidden_recipe(capture),
        batch_tokens=prepared.batch_tokens,
        finish=finisher(settings),
    )
