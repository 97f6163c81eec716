"""From rows to a complete dump: shards, tokenizer, preview, card, manifest; then its name."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.dataset_folder import new_folder
from pipeline.dataset_rows import Rows
from pipeline.dataset_writer import Target, write_shards
from pipeline.dump_tokenizer import Companions, dump_tokenizer
from pipeline.program import program_version
from schemas import layout
from schemas.manifest import Manifest, Setting, Settings, Shard, plan_identity
from schemas.progress import Progress, Report, ignore
from schemas.ranking import Ints, ranking_file, ranks_of
from schemas.storage_posix import PosixStore
from schemas.strict_json import json_bytes
from stage1_teacher.card import dataset_card
from stage1_teacher.commit_manifest import assemble
from stage1_teacher.preview_shard import NAME as PREVIEW
from stage1_teacher.preview_shard import has_preview, preview_parquet
from stage2_student.read_ahead import read_ahead

_CREATED_BY = f"potstill {program_version()}"
_MEGABYTE = 1_000_000
_PREVIEW_ROWS = 100
_AHEAD = 2
"""Row groups read while one is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A dump that was made out of others.

    Attributes:
        path: its folder.
        identity: hash over its whole manifest.
        plan: hash over everything that decides its numbers.
        shards: files under data/.
        rows: sequences.
        tokens: tokens in them.
        positions: captured positions in them.
        bytes: size of the shards, hidden states included.
        left_out: how many rows were left out, by reason.
        notes: what else the user should know.
    """

    path: str
    identity: str
    plan: str
    shards: int
    rows: int
    tokens: int
    positions: int
    bytes: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How a dump is made.

    Attributes:
        out: its folder.
        operation: the command, for progress.
        model: the dump whose tokenizer and projection it takes.
        shard_mb: a shard ends with the row group that reaches this.
        rows: how many there will be.
        ranking: of the compact profile, the id of each rank; None for ids as they are.
    """

    out: str
    operation: str
    model: Companions
    shard_mb: int
    rows: int
    ranking: Ints | None = None


def make_dump(
    making: Making, settings: Settings, rows: Iterator[Rows], report: Report = ignore
) -> Made:
    """Writes a complete dump; nothing is left of one that fails.

    Raises:
        ConflictError: there is something at its place.
        DamagedError: a shard that is read is bad.
        InputError: disk full or no permission.
    """
    ranks = None if making.ranking is None else ranks_of(making.ranking)
    target = Target(settings=settings, shard_bytes=making.shard_mb * _MEGABYTE, ranks=ranks)
    with new_folder(making.out) as folder, closing(read_ahead(rows, _AHEAD)) as ahead:
        store = PosixStore(folder)
        told = _told(ahead, making, report)
        shards = list(write_shards(store, target, told))
        if making.ranking is not None:
            store.create(layout.RANKING, ranking_file(making.ranking))
        _write_companions(store, folder, making.model, settings, shards)
        manifest = _write_manifest(store, settings, shards)
    return Made(
        path=making.out,
        identity=manifest.identity,
        plan=manifest.plan,
        shards=len(shards),
        rows=sum(shard.rows for shard in shards),
        tokens=sum(shard.tokens for shard in shards),
        positions=sum(shard.positions for shard in shards),
        bytes=sum(shard.bytes + shard.hidden_bytes for shard in shards),
    )


def _told(rows: Iterable[Rows], making: Making, report: Report) -> Iterator[Rows]:
    done = 0
    for more in rows:
        yield more
        done += more.table.num_rows
        report(Progress(stage=making.operation, done=done, total=making.rows, unit="rows"))


def _write_companions(
    store: PosixStore, folder: Path, model: Companions, settings: Settings, shards: list[Shard]
) -> None:
    for name in model.names(layout.TOKENIZER):
        path = f"{layout.TOKENIZER}/{name}"
        store.create(path, model.read_bytes(path))
    if settings.capture.hidden_projection is not None:
        store.create(layout.PROJECTION, model.read_bytes(layout.PROJECTION))
    decoder = None if settings.ranking else dump_tokenizer(model)
    if settings.ranking and PREVIEW.rpartition("/")[2] in model.names(layout.PREVIEW):
        store.create(PREVIEW, model.read_bytes(PREVIEW))
    if decoder is not None and has_preview(settings):
        preview = preview_parquet(folder, shards, settings.capture, decoder, _PREVIEW_ROWS)
        store.create(PREVIEW, preview)
    store.create(layout.CARD, dataset_card(settings, shards, _CREATED_BY).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heading:
    """What the manifest says besides its shards."""

    settings: Settings
    plan: str
    created_by: str = _CREATED_BY
    engine_options: dict[str, Setting] = field(default_factory=dict)


def _write_manifest(store: PosixStore, settings: Settings, shards: list[Shard]) -> Manifest:
    heading = _Heading(settings=settings, plan=plan_identity(settings))
    assembled = assemble(heading, shards, len(shards))
    for name, data in assembled.files.items():
        store.create(layout.ledger_part(name), data)
    store.create(layout.MANIFEST, json_bytes(assembled.manifest))
    return assembled.manifest
