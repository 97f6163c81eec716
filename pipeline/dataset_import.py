"""Converts another system's dump into one of ours: read once for its health, once to write it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.dataset_exchange_settings import ImportSettings
from pipeline.dataset_folder import check_free
from pipeline.dataset_making import Made, Making, make_dump
from pipeline.dataset_rows import Rows
from pipeline.foreign_files import find_foreign
from pipeline.foreign_formats import Opened, compressed_size, open_format, recognised
from pipeline.foreign_health import Health, examine
from pipeline.foreign_rows import ForeignRow, cleaned, sample_row
from schemas.codecs import CODECS
from schemas.columns import shard_columns
from schemas.errors import InputError
from schemas.manifest import (
    Capture,
    Corpus,
    Engine,
    Limits,
    Settings,
    Teacher,
    Tokenizer,
)
from schemas.progress import Progress, Report, ignore
from stage1_teacher.shard_tables import Row, shard_table
from stage1_teacher.shard_writer import row_groups
from stage1_teacher.tokenizer import TeacherTokenizer, load_tokenizer

_NOT_KNOWN = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import came to.

    Attributes:
        made: the new dump.
        layout: whose dump it was.
        health: what was found in it.
        problems: what a user should know before training on it, a sentence each.
    """

    made: Made
    layout: str
    health: Health
    problems: tuple[str, ...]


def import_dump(settings: ImportSettings, report: Report = ignore) -> Imported:
    """Imports.

    Raises:
        InputError: there is nothing to import, or its layout is not known.
        ConfigError: a licence is not stated.
        DamagedError: the dump's distributions do not belong to its tokens.
        ConflictError: there is something at `out`.
    """
    licenses = settings.licenses()
    check_free(settings.out)
    files = find_foreign(settings.path)
    name = settings.from_ if settings.from_ != "auto" else recognised(files)
    rows = open_format(name, files, settings)
    health = examine(_told(rows(), "examine", None, report))
    if not health.positions:
        raise InputError(
            f"{settings.path} holds no position with a distribution ({health.rows:,} rows were "
            "read). Is it the right folder?"
        )
    tokenizer = _tokenizer(settings)
    head = settings.head_size or (name == "distillkit" and compressed_size(files, settings)) or 0
    head = max(head, tokenizer.manifest(1).size if tokenizer else 0)
    plan = _settings(settings, name, health, licenses, tokenizer, head)
    made = _make(settings, plan, rows, health, tokenizer, report)
    left_out = {"without a position": health.rows - made.rows}
    return Imported(
        made=replace(made, left_out=left_out),
        layout=name,
        health=health,
        problems=tuple(_problems(health, tokenizer, licenses, name)),
    )


def _make(
    settings: ImportSettings,
    plan: Settings,
    rows: Opened,
    health: Health,
    tokenizer: TeacherTokenizer | None,
    report: Report,
) -> Made:
    making = Making(
        out=settings.out,
        operation="import",
        model=_Tokenizer(files={} if tokenizer is None else tokenizer.files()),
        shard_mb=settings.shard_size,
        rows=health.usable,
    )
    return make_dump(making, plan, _tables(rows(), plan, health.shift or 0), report)


def _tables(rows: Iterator[ForeignRow], plan: Settings, shift: int) -> Iterator[Rows]:
    capture, codec = plan.capture, CODECS[plan.codec]
    columns = shard_columns(capture.temperatures)
    for group in row_groups(_converted(rows, shift)):
        yield Rows(table=shard_table(group, columns, capture, codec))


def _converted(rows: Iterator[ForeignRow], shift: int) -> Iterator[Row]:
    for row in rows:
        found = cleaned(row, shift)
        if len(found.row.counts):
            yield sample_row(found)


def _told(
    rows: Iterator[ForeignRow], stage: str, total: int | None, report: Report
) -> Iterator[ForeignRow]:
    for done, row in enumerate(rows, 1):
        yield row
        report(Progress(stage=stage, done=done, total=total, unit="rows"))


def _tokenizer(settings: ImportSettings) -> TeacherTokenizer | None:
    return None if settings.tokenizer is None else load_tokenizer(Path(settings.tokenizer))


def _settings(
    settings: ImportSettings,
    name: str,
    health: Health,
    licenses: tuple[str, str],
    tokenizer: TeacherTokenizer | None,
    head: int,
) -> Settings:
    """What is not known stands as unknown: a hash of zeros, no parameters."""
    if head and health.largest_id >= head:
        raise InputError(
            f"the dump holds the id {health.largest_id}, and the teacher has {head:,} logits. Give "
            "the right --tokenizer or --head-size."
        )
    size = head or health.largest_id + 1
    unnamed = Tokenizer(fingerprint=_NOT_KNOWN, size=size, head_size=size, special_tokens={})
    return Settings(
        teacher=Teacher(
            name=settings.teacher,
            weights=_NOT_KNOWN,
            architecture="unknown",
            parameters=0,
            dtype="bfloat16",
            license=licenses[0],
            output_terms=settings.output_terms,
        ),
        engine=Engine(
            name=f"import from {name}",
            version=_version(),
            settings={"shift": health.shift, "tail": "what the kept entries leave of one"},
        ),
        tokenizer=tokenizer.manifest(size) if tokenizer else unnamed,
        corpus=Corpus(
            name=Path(settings.path).name or settings.path,
            fingerprint=health.fingerprint,
            rows=health.rows,
            license=licenses[1],
        ),
        capture=Capture(min_prob=None, top_k=health.most, tail_samples=0, temperatures=[1.0]),
        limits=Limits(max_length=max(2, health.longest), unit_size=1),
    )


def _version() -> str:
    try:
        return version("potstill")
    except PackageNotFoundError:
        return "unknown"


def _problems(
    health: Health, tokenizer: TeacherTokenizer | None, licenses: tuple[str, str], name: str
) -> Iterator[str]:
    if health.shift:
        yield (
            f"its alignment was off by {health.shift:+d}: the distributions were moved to the "
            "tokens that they fit"
        )
    if health.shift is None:
        yield "too few positions to find out whether it is aligned"
    if tokenizer is None:
        yield (
            "it has no tokenizer, and none was given: no student can be trained on it. Import it "
            "again with --tokenizer"
        )
    if health.double_bos:
        yield f"{health.double_bos:,} of {health.rows:,} rows begin with their BOS twice"
    if health.over_one:
        yield (
            f"at {health.over_one:,} positions the probabilities add up to more than one: they "
            "were renormalised"
        )
    elif health.mean_mass > 1 - 1e-6:
        yield "its heads were renormalised: what the teacher gave to other tokens is not known"
    if health.repeated:
        yield f"{health.repeated:,} entries repeated an id of their position: left out"
    yield (
        "realised tokens outside the kept entries have no log-probability of their own: the mass "
        "of all the rest stands there, which is at least as much"
    )
    if "unknown" in licenses:
        yield "its licence is not stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokenizer:
    """The tokenizer's files as the new dump's companions."""

    files: dict[str, bytes]
    url: str = "--tokenizer"

    def names(self, folder: str) -> Sequence[str]:
        return sorted(self.files) if folder == "tokenizer" else []

    def read_bytes(self, name: str) -> bytes:
        return self.files[name.rpartition("/")[2]]

    def read_text(self, name: str) -> str:
        return self.read_bytes(name).decode()
