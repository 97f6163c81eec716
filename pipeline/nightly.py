"""One night: what is unfinished goes on, then what is new in the corpus becomes a new dump."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from pipeline.nightly_folder import ROW_HASHES, Night, NightlyFolder
from pipeline.nightly_rows import write_new_rows
from pipeline.nightly_settings import NightlySettings
from pipeline.nightly_status import Status, StatusBook
from schemas.differences import differences
from schemas.dump_folder import open_dump
from schemas.errors import ConflictError, PotstillError, SetAsideError, StoppedError
from schemas.manifest import Settings, settings_of
from schemas.progress import Report
from stage1_teacher.corpus_card import corpus_license
from stage1_teacher.preparation import corpus_of
from stage1_teacher.row_digests import SeenRows
from stage1_teacher.run import DumpSummary, dump

_MUST_AGREE = ("teacher", "tokenizer", "capture", "generation", "codec", "format_version")
_BUG = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a night works with; tests put others here."""

    dump: Callable[..., DumpSummary] = dump
    today: Callable[[], date] = lambda: datetime.now(UTC).date()


def run_night(
    settings: NightlySettings,
    folder: NightlyFolder,
    book: StatusBook,
    report: Report,
    tools: Tools,
) -> Status:
    """Works until nothing is left to do; `book` knows at every moment how far it is.

    Raises:
        PotstillError: as `dump`; the status says it, too, and the next night goes on.
    """
    try:
        _work(_Run(settings=settings, folder=folder, book=book, report=report, tools=tools))
    except PotstillError as error:
        stopped = isinstance(error, StoppedError)
        book.close("stopped" if stopped else "failed", error.exit_code, str(error))
        raise
    except KeyboardInterrupt:
        book.close("stopped", StoppedError.exit_code, "interrupted; the next night goes on")
        raise
    except BaseException as error:  # a defect of ours: the status file must not say "running"
        book.close("failed", _BUG, f"{type(error).__name__}: {error}")
        raise
    return book.status


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    settings: NightlySettings
    folder: NightlyFolder
    book: StatusBook
    report: Report
    tools: Tools


def _work(run: _Run) -> None:
    unfinished = [night for night in run.folder.nights() if not night.done]
    for night in unfinished:
        _dump(run, night, resumed=True)
    new = _begin(run)
    if new is not None:
        _dump(run, new, resumed=False)
    run.folder.retain(run.settings.keep_work)
    status = run.book.status
    failed = sum(found["failed"] for found in status.dumps)
    if failed:
        run.book.close("set aside", SetAsideError.exit_code, _sentence(status))
    else:
        run.book.close("done" if status.dumps else "nothing new", 0, _sentence(status))


def _begin(run: _Run) -> Night | None:
    """Looks for what is new; makes a night of it."""
    seen = SeenRows()
    for night in run.folder.nights():
        seen.add_file(night.folder / ROW_HASHES)
    corpus = corpus_of(run.settings.model_copy(update={"limit": None}))

    def fill(folder: Any) -> int:
        found = write_new_rows(corpus, seen, folder, run.settings.limit, run.report)
        run.book.note(new_rows=found.new, known_rows=found.known)
        return found.new

    return run.folder.begin(run.tools.today(), fill)


def _dump(run: _Run, night: Night, *, resumed: bool) -> None:
    corpus = corpus_of(run.settings)
    licence = run.settings.corpus_license or corpus_license(run.settings.corpus, corpus)
    place = night.dump if night.dump.exists() else night.begun_dump
    settings = run.settings.of_dump(str(night.corpus), str(place), licence)
    summary = run.tools.dump(settings, run.report, lambda asked: _check_agrees(run.folder, asked))
    run.folder.show(night)
    told = {"name": night.name, "resumed": resumed, **_figures(summary), "path": str(night.dump)}
    run.folder.finish(night, told)
    run.book.note(dumps=(*run.book.status.dumps, told))


def _check_agrees(folder: NightlyFolder, asked: Settings) -> None:
    """Dumps beside each other are read as one: the newest that is still here says how they are.

    Raises:
        ConflictError: teacher, tokenizer, policy or limits differ.
    """
    done = [night for night in folder.nights() if night.done and night.dump.is_dir()]
    if not done:
        return
    lines = [
        line
        for line in differences(asked, settings_of(open_dump(done[-1].dump).manifest))
        if line.startswith(_MUST_AGREE)
    ]
    if lines:
        raise ConflictError(
            f"the dumps in {folder.path} were made with other settings (here: tonight, there: in "
            f"{done[-1].name}):\n" + "".join(f"  {line}\n" for line in lines) + "Dumps that are "
            "read as one must agree. Go back to those settings, or choose another --out."
        )


def _figures(summary: DumpSummary) -> dict[str, Any]:
    names = ("identity", "rows", "tokens", "bytes", "failed", "skipped", "units")
    told = asdict(summary)
    return {name: told[name] for name in names}


def _sentence(status: Status) -> str:
    """The summary line."""
    if not status.dumps:
        return f"nothing new: all {status.known_rows:,} rows were dumped before"
    dumps = [
        f"{found['name']}{' (finished)' if found['resumed'] else ''}: {found['rows']:,} sequences, "
        f"{found['tokens']:,} tokens, {found['bytes']:,} bytes"
        + (f", {found['failed']:,} set aside" if found["failed"] else "")
        for found in status.dumps
    ]
    return f"{status.new_rows:,} new rows, {status.known_rows:,} known; {'; '.join(dumps)}"
