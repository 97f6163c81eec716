"""Stage one from end to end: checks, plan, units, manifest. Run again, it continues.

One forward pass over the corpus counts and fingerprints its rows, a second renders the rows of the
units that are missing; committed units cost one skipped stretch of it. Memory holds one unit's
token ids and one chunk of signals, however long the corpus is.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from schemas import layout
from schemas.codecs import CODECS
from schemas.columns import shard_columns
from schemas.errors import StoppedError
from schemas.manifest import Alignment, GenerationCounts, Manifest, settings_of
from schemas.progress import Progress, Report, ignore
from stage1_teacher.card import dataset_card, figures
from stage1_teacher.commit import Attempt, Work, open_work
from stage1_teacher.dump_progress import Meter
from stage1_teacher.hidden_tables import hidden_recipe
from stage1_teacher.interruption import Interruption, interruption
from stage1_teacher.preparation import Prepared, prepare
from stage1_teacher.preview_shard import NAME as PREVIEW_NAME
from stage1_teacher.preview_shard import preview_parquet
from stage1_teacher.projection import projection_file
from stage1_teacher.responses import Tally
from stage1_teacher.settings import DumpSettings
from stage1_teacher.shard_writer import CapturedRows, Recipe, RowSource, write_unit
from stage1_teacher.units import RowCursor


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpSummary:
    """What a finished dump holds, and what this run did for it.

    Attributes:
        path: the dump's folder.
        identity: hash over the whole manifest.
        plan: hash over everything that decides the numbers.
        finished_before: the dump was complete already; nothing was done.
        rows: sequences in the dump.
        tokens: tokens in it.
        positions: captured positions in it.
        bytes: size of its shards, hidden states included.
        bytes_per_token: bytes of data/ per token.
        hidden_bytes_per_token: bytes of hidden/ per token.
        skipped: corpus rows that gave no sequence.
        truncated: corpus rows that were cut.
        units: work units in it.
        units_done: units that this run computed.
        seconds: time that this run took after the teacher was loaded.
        tokens_per_second: tokens of this run per second.
        alignment: the self-test over the whole dump.
        generation: what became of the responses; None where the teacher wrote none.
    """

    path: str
    identity: str
    plan: str
    finished_before: bool
    rows: int
    tokens: int
    positions: int
    bytes: int
    bytes_per_token: float
    hidden_bytes_per_token: float
    skipped: int
    truncated: int
    units: int
    units_done: int
    seconds: float
    tokens_per_second: float
    alignment: Alignment
    generation: GenerationCounts | None


def dump(settings: DumpSettings, report: Report = ignore) -> DumpSummary:
    """Dumps a teacher's knowledge of a corpus, or goes on where an earlier run stopped.

    Several workers may do this at the same time with the same settings.

    Raises:
        PotstillError: something is wrong with the input, the folder or the store; see its text.
        StoppedError: Ctrl-C or SIGTERM; finished units are kept.
    """
    with interruption() as asked:
        try:
            return _dump(settings, report, asked)
        except KeyboardInterrupt:
            raise StoppedError(
                f"stopped on request. The finished units in {settings.out} are kept and nothing is "
                "half-written: run the same command again to go on."
            ) from None


def created_by() -> str:
    """Program and version."""
    try:
        return f"potstill {version('potstill')}"
    except PackageNotFoundError:
        return "potstill"


def _dump(settings: DumpSettings, report: Report, asked: Interruption) -> DumpSummary:
    prepared = prepare(settings, report)
    work = open_work(
        settings.out,
        prepared.settings,
        prepared.units,
        created_by=created_by(),
        engine_options=prepared.engine_options,
    )
    meter = Meter(report=report, total=prepared.settings.corpus.rows)
    if work.complete:
        return _summary(settings, work.manifest(), meter, None)
    worker = _Worker(work=work, prepared=prepared, meter=meter, asked=asked)
    worker.run()
    _publish(work, prepared, Path(settings.out))
    return _summary(settings, work.finalise(), meter, worker.won)


class _Worker:
    """Computes units until none is missing; `won` counts those that this run committed."""

    def __init__(
        self, *, work: Work, prepared: Prepared, meter: Meter, asked: Interruption
    ) -> None:
        self.won = 0
        self._work = work
        self._prepared = prepared
        self._meter = meter
        self._asked = asked
        self._recipe = _recipe(prepared)
        self._cursor = RowCursor(prepared.rows)
        self._source: RowSource | None = None

    def run(self) -> None:
        with ExitStack() as opened:
            for unit in self._work.units(self._meter.report):
                if self._source is None:
                    self._source = self._start(opened)
                with self._asked.deferred(), self._work.attempt(unit) as attempt:
                    self._compute(attempt, self._source)

    def _start(self, opened: ExitStack) -> RowSource:
        """Loads the teacher, and what judges its responses where it writes some."""
        name = self._prepared.settings.teacher.name
        self._meter.report(Progress(stage="load teacher", message=f"loading {name}"))
        self._prepared.engine.start()
        self._meter.start(self._rows_done())
        engine, writing = self._prepared.engine, self._prepared.writing
        if writing is None:
            return CapturedRows(engine=engine, recipe=self._recipe)
        return opened.enter_context(writing.opened(engine, self._recipe))

    def _compute(self, attempt: Attempt, source: RowSource) -> None:
        start, end = self._work.plan.units[attempt.unit]
        unit = self._prepared.render(self._cursor.rows(start, end))
        self._meter.begin(end - start, sum(map(source.cost, unit.samples)))
        tally = Tally()
        sums = write_unit(attempt, source.rows(unit.samples, tally, self._tick), self._recipe)
        counts = sums.counts(
            skipped=unit.skipped,
            truncated=unit.truncated,
            generation=tally.result() if self._prepared.writing else None,
        )
        if attempt.commit(counts):
            self.won += 1
        shard = self._work.committed()[attempt.unit].shard
        self._meter.commit(self._rows_done(), shard.bytes, shard.tokens)

    def _tick(self, tokens: int) -> None:
        self._meter.tick(tokens)
        self._asked.check()

    def _rows_done(self) -> int:
        ranges = self._work.plan.units
        return sum(ranges[unit][1] - ranges[unit][0] for unit in self._work.committed())


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
    )


def _publish(work: Work, prepared: Prepared, folder: Path) -> None:
    """Writes what stands beside the shards; manifest.json comes after it."""
    manifest = work.manifest()
    for name, data in prepared.tokenizer_files.items():
        work.publish(f"{layout.TOKENIZER}/{name}", data)
    shards, capture = manifest.shards, manifest.capture
    hidden = hidden_recipe(capture)
    if hidden is not None and hidden.projection is not None:
        work.publish(layout.PROJECTION, projection_file(hidden.projection))
    preview = preview_parquet(folder, shards, capture, prepared.decoder)
    work.publish(PREVIEW_NAME, preview)
    card = dataset_card(settings_of(manifest), shards, manifest.created_by)
    work.publish(layout.CARD, card.encode())


def _summary(
    settings: DumpSettings, manifest: Manifest, meter: Meter, won: int | None
) -> DumpSummary:
    """`won` is None when the dump was finished before."""
    found = figures(manifest.shards)
    return DumpSummary(
        path=settings.out,
        identity=manifest.identity,
        plan=manifest.plan,
        finished_before=won is None,
        rows=found.rows,
        tokens=found.tokens,
        positions=found.positions,
        bytes=found.bytes,
        bytes_per_token=found.bytes_per_token,
        hidden_bytes_per_token=found.hidden_bytes_per_token,
        skipped=found.skipped,
        truncated=found.truncated,
        units=len(manifest.shards),
        units_done=won or 0,
        seconds=meter.seconds if won else 0.0,
        tokens_per_second=meter.tokens_per_second if won else 0.0,
        alignment=manifest.alignment,
        generation=found.generation,
    )
