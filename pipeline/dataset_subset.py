"""Some rows of a dump, chosen before anything is written.

Shapes: R rows of a row group.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.dataset_derived import derived_settings, without_hidden
from pipeline.dataset_folder import check_free
from pipeline.dataset_making import Made, Making, make_dump
from pipeline.dataset_rows import Bools, Wanted, light_groups, read_rows
from pipeline.dataset_settings import SubsetSettings
from schemas import layout
from schemas.columns import shard_columns
from schemas.dump_folder import DumpFolder, open_dump
from schemas.errors import ConfigError, InputError
from schemas.manifest import digest
from schemas.progress import Progress, Report, ignore
from stage2_student.row_filter import RowFilter, check_filter, filter_of, matches
from stage2_student.row_index import row_lengths
from stage2_student.split import document_id

_SHOWN = 3
_SOURCES_SHOWN = 20


def subset(settings: SubsetSettings, report: Report = ignore) -> Made:
    """Makes a dump of the rows that pass every filter.

    Raises:
        ConfigError: no filter, or one that the dump has no column for.
        InputError: no row is left, or an id is not there.
        ConflictError: there is something at `out`.
        DamagedError: a shard is bad.
    """
    check_free(settings.out)
    dump = open_dump(settings.dump)
    filters = _filters(settings, dump)
    chosen = _choose(dump, filters, report)
    if not chosen.rows:
        raise InputError(_nothing(dump, chosen.left_out))
    target = derived_settings([dump], "subset", _arguments(settings, filters))
    if not settings.hidden:
        target = target.model_copy(update={"capture": without_hidden(target.capture)})
    capture = target.capture
    wanted = Wanted(
        columns=shard_columns(capture.temperatures, capture.optional_columns),
        hidden=bool(capture.hidden_layers),
        masks=chosen.masks,
    )
    making = Making(
        out=settings.out,
        operation="subset",
        model=dump,
        shard_mb=settings.shard_size,
        rows=chosen.rows,
    )
    made = make_dump(making, target, read_rows(dump, wanted), report)
    return replace(made, left_out=dict(chosen.left_out))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filters:
    """What a row must be.

    Attributes:
        only: by source, segments, verdict and length.
        share: of the documents; None for all.
        ids: these alone; None for all.
    """

    only: RowFilter
    share: float | None
    ids: frozenset[str] | None

    @property
    def columns(self) -> list[str]:
        """What is read to choose by."""
        names = ["id"] * (self.ids is not None or self.share is not None)
        return names + ["segments"] * (self.only != RowFilter()) + self.only.columns

    def masks(self, table: pa.Table) -> Iterator[tuple[str, Bools]]:
        """Every filter that is set, as a user wrote it, and [R] which rows pass it."""
        if self.ids is not None:
            yield "--ids", np.asarray([name in self.ids for name in table["id"].to_pylist()], bool)
        if self.only != RowFilter():
            yield from self.only.masks(table, row_lengths(table))
        if self.share is not None:
            names = table["id"].to_pylist()
            yield (
                f"--share {self.share:g}",
                np.asarray([in_share(name, self.share) for name in names], bool),
            )


@dataclass(slots=True, kw_only=True)
class _Chosen:
    """Which rows pass: masks by shard and row group, how many, and what each filter left out."""

    masks: dict[str, list[Bools]] = field(default_factory=dict)
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def in_share(sample_id: str, share: float) -> bool:
    """Whether a sample's document is in the share.

    It is when the first 8 bytes of sha256("subset:" + document id), as a fraction of 2^64, are
    below the share: apart from the held-out split, which hashes another prefix.
    """
    name = f"subset:{document_id(sample_id)}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") < share * 2.0**64


def _filters(settings: SubsetSettings, dump: DumpFolder) -> _Filters:
    only = filter_of(settings)
    check_filter(only, [dump])
    found = _Filters(
        only=only,
        share=settings.share,
        ids=None if settings.ids is None else _read_ids(settings.ids),
    )
    if found == _Filters(only=RowFilter(), share=None, ids=None):
        raise ConfigError(
            "a subset needs at least one of --sources, --ids, --with-segments, --verdicts, "
            "--min-tokens, --max-tokens and --share; found none. To copy a whole dump there is "
            "`potstill dataset push`."
        )
    return found


def _read_ids(path: str) -> frozenset[str]:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--ids {path} cannot be read: {error}. Give a text file with one sample id per line."
        ) from error
    found = frozenset(line.strip() for line in lines) - {""}
    if not found:
        raise InputError(f"--ids {path} holds no id. Give a file with one sample id per line.")
    return found


def _choose(dump: DumpFolder, filters: _Filters, report: Report) -> _Chosen:
    chosen, seen = _Chosen(), 0
    total = sum(shard.rows for shard in dump.shards)
    missing, sources = set(filters.ids or ()), set[str]()
    for shard, _, table in light_groups(dump, filters.columns):
        left = np.ones(table.num_rows, np.bool_)
        with dump.reading(f"{layout.DATA}/{shard.name}"):
            for name, passed in filters.masks(table):
                chosen.left_out[name] += int((left & ~passed).sum())
                left &= passed
        missing -= set(table["id"].to_pylist() if missing else ())
        sources |= set(table["source"].to_pylist() if filters.only.sources else ())
        chosen.masks.setdefault(shard.name, []).append(left)
        chosen.rows += int(left.sum())
        seen += table.num_rows
        report(Progress(stage="choose rows", done=seen, total=total, unit="rows"))
    _check_ids(dump, missing, len(filters.ids or ()))
    _check_sources(dump, filters.only.sources, sources)
    return chosen


def _check_ids(dump: DumpFolder, missing: set[str], asked: int) -> None:
    if missing:
        shown = ", ".join(sorted(missing)[:_SHOWN])
        raise InputError(
            f"{len(missing):,} of the {asked:,} ids of --ids are not in {dump.url}, such as "
            f"{shown}. `potstill inspect {dump.url}` shows some of its ids."
        )


def _check_sources(dump: DumpFolder, patterns: Sequence[str], seen: set[str]) -> None:
    """A pattern that no row matches is a misspelt one, and would silently leave out data."""
    for pattern in patterns:
        if not any(matches(source, pattern) for source in seen):
            raise InputError(
                f"no row of {dump.url} is of a source {pattern!r}; it holds "
                f"{', '.join(sorted(seen)[:_SOURCES_SHOWN])}. Correct --sources."
            )


def _arguments(settings: SubsetSettings, filters: _Filters) -> dict[str, object]:
    """What was asked for; of a list of ids, its hash."""
    asked = settings.model_dump(exclude={"dump", "out", "shard_size", "ids"})
    return asked | ({"ids": digest(sorted(filters.ids))} if filters.ids is not None else {})


def _nothing(dump: DumpFolder, left_out: Mapping[str, int]) -> str:
    rows = sum(shard.rows for shard in dump.shards)
    lines = "".join(f"\n  {name}: {count:,} left out" for name, count in left_out.items())
    return (
        f"none of the {rows:,} rows of {dump.url} is left:{lines}\nEach counts what those before "
        "it let pass. Loosen one of them; nothing was written."
    )
