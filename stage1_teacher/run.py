"""Stage one from end to end: checks, plan, units, manifest. Run again, it continues.

One forward pass over the corpus counts and fingerprints its rows, a second renders the rows of the
units that are missing; committed units cost one skipped stretch of it. Memory holds one unit's
token ids and one chunk of signals, however long the corpus is.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from schemas import layout
from schemas.errors import StoppedError
from schemas.manifest import Alignment, GenerationCounts, Settings, settings_of
from schemas.progress import Report, ignore
from schemas.storages import open_store
from stage1_teacher.card import dataset_card, figures
from stage1_teacher.commit import Work, open_work
from stage1_teacher.control import Control
from stage1_teacher.dump_progress import Meter
from stage1_teacher.gold import gold_files
from stage1_teacher.hidden_tables import hidden_recipe
from stage1_teacher.interruption import Interruption, interruption
from stage1_teacher.preparation import Prepared, prepare
from stage1_teacher.preview_shard import NAME as PREVIEW_NAME
from stage1_teacher.preview_shard import has_preview, preview_parquet
from stage1_teacher.projection import projection_file
from stage1_teacher.ray_cluster import set_environment
from stage1_teacher.ray_dump import run_on_ray
from stage1_teacher.set_aside import check_budget, shard_file
from stage1_teacher.settings import DumpSettings
from stage1_teacher.unit_worker import UnitWorker


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
        failed: samples that were set aside; .potstill/set_aside.jsonl says why.
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
    failed: int
    units: int
    units_done: int
    seconds: float
    tokens_per_second: float
    alignment: Alignment
    generation: GenerationCounts | None


def dump(
    settings: DumpSettings,
    report: Report = ignore,
    check: Callable[[Settings], None] = lambda settings: None,
) -> DumpSummary:
    """Dumps a teacher's knowledge of a corpus, or goes on where an earlier run stopped.

    Several workers may do this at the same time with the same settings.

    Args:
        settings: what the user asked for.
        report: told of progress.
        check: given what decides the numbers before anything is written; it may raise.

    Raises:
        PotstillError: something is wrong with the input, the folder or the store; see its text.
        StoppedError: Ctrl-C, SIGTERM or `potstill stop`; finished units are kept.
    """
    with interruption(settings.grace) as asked:
        try:
            return _dump(settings, report, asked, check)
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


def _dump(
    settings: DumpSettings, report: Report, asked: Interruption, check: Callable[[Settings], None]
) -> DumpSummary:
    if settings.cluster == "ray":
        set_environment()
    prepared = prepare(settings, report)
    check(prepared.settings)
    work = open_work(
        settings.out,
        prepared.settings,
        prepared.units,
        created_by=created_by(),
        engine_options=prepared.engine_options,
    )
    work.share = settings.share
    meter = Meter(report=report, total=prepared.settings.corpus.rows)
    if work.complete:
        return _summary(settings, work, meter, None)
    if settings.cluster == "ray":
        won = run_on_ray(settings, work, meter, created_by())
    else:
        won = _compute(settings, prepared, work, (meter, asked))
    _finish(work, prepared, settings.out)
    return _summary(settings, work, meter, won)


def _compute(
    settings: DumpSettings, prepared: Prepared, work: Work, with_: tuple[Meter, Interruption]
) -> int:
    """Computes units in this process until none is missing; gives how many it committed."""
    meter, asked = with_
    store = open_store(settings.out)
    control = Control(store, asked, meter.report)
    worker = UnitWorker(work=work, prepared=prepared, meter=meter, control=control, store=store)
    with worker, closing(work.units(meter.report)) as units:  # leases are given back at once
        for unit in units:
            worker.compute(unit)
    return worker.won


def _finish(work: Work, prepared: Prepared, folder: str) -> None:
    """Completes a dump without missing units, unless somebody did."""
    if work.complete:
        return
    check_budget(work.committed(), prepared.allowed_failures)
    _publish(work, prepared, folder)
    work.finalise()


def _publish(work: Work, prepared: Prepared, folder: str) -> None:
    """Writes what stands beside the shards; manifest.json comes after it."""
    manifest = work.manifest()
    for name, data in prepared.tokenizer_files.items():
        work.publish(f"{layout.TOKENIZER}/{name}", data)
    shards, capture = work.shards(), manifest.capture
    hidden = hidden_recipe(capture)
    if hidden is not None and hidden.projection is not None:
        work.publish(layout.PROJECTION, projection_file(hidden.projection))
    if has_preview(settings_of(manifest)):
        work.publish(PREVIEW_NAME, preview_parquet(folder, shards, capture, prepared.decoder))
    if prepared.gold is not None:
        whole = (manifest, shards)
        for name, data in gold_files(folder, whole, prepared.engine, prepared.gold):
            work.publish(name, data)
    card = dataset_card(settings_of(manifest), shards, manifest.created_by)
    work.publish(layout.CARD, card.encode())
    store = open_store(folder)
    failures = [store.read(shard_file(shard.name)) or b"" for shard in shards if shard.failed]
    if failures:
        work.publish(layout.SET_ASIDE_FILE, b"".join(failures))


def _summary(settings: DumpSettings, work: Work, meter: Meter, won: int | None) -> DumpSummary:
    """`won` is None when the dump was finished before."""
    manifest, shards = work.manifest(), work.shards()
    found = figures(shards)
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
        failed=found.failed,
        units=len(shards),
        units_done=won or 0,
        seconds=meter.seconds if won else 0.0,
        tokens_per_second=meter.tokens_per_second if won else 0.0,
        alignment=manifest.alignment,
        generation=found.generation,
    )
