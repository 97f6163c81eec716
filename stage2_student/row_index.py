"""Where every row of the dumps is and how long it is, from light columns; held in memory.

About 20 bytes a row. With it an epoch's order is a pure function of the seed, known before a
number is read, so that any step of it can be read by any rank alone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas import layout
from schemas.dump_folder import DumpFolder
from schemas.errors import InputError
from schemas.manifest import Shard
from schemas.progress import Progress, Report, ignore
from schemas.row_group import span_column
from schemas.shard_reading import ShardFault
from stage2_student.row_filter import RowFilter, matches
from stage2_student.split import Part, belongs_to
from stage2_student.tasks import Tasks, sequences

Ints = npt.NDArray[np.int64]

_THREADS = 8
"""Opening a shard waits for the store more than it computes."""

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlace:
    """A row group: the dump's number, the shard, the group's number in it."""

    dump: int
    shard: Shard
    group: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowIndex:
    """R chosen rows of one side of the split, in the order of dumps, shards and groups.

    Where rows are split into tasks, each of their sequences counts as a row.

    Attributes:
        groups: every row group of every dump, also those without a row here.
        group_R: which of `groups` each row is in.
        row_R: its number in the group.
        length_R: its tokens.
        longest: tokens of the longest chosen row, on either side of the split.
        sources: names of the rows' sources; empty where these were not read.
        source_R: which of `sources` each row is of.
        left_out: how many rows each filter left out of those that the ones before it let pass.
        split: how many of them are one of a row's tasks.
    """

    groups: Sequence[GroupPlace]
    group_R: Ints
    row_R: Ints
    length_R: Ints
    longest: int
    sources: Sequence[str] = ()
    source_R: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    left_out: Mapping[str, int] = field(default_factory=dict)
    split: int = 0

    def __len__(self) -> int:
        return len(self.group_R)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChoice:
    """Which rows are looked for in every shard, and what is found out about them.

    Attributes:
        part: which side of the split.
        held_out: share of the documents that is held out.
        only: which rows at all; by default every one.
        with_sources: whether the index says of which source each row is.
        tasks: what rows are split into; by default they are read whole.
    """

    part: Part = "all"
    held_out: float = 0.0
    only: RowFilter = field(default_factory=RowFilter)
    with_sources: bool = False
    tasks: Tasks = field(default_factory=Tasks)

    @property
    def columns(self) -> list[str]:
        """The light columns that are read."""
        ids = ["id"] if self.part != "all" else []
        sources = ["source"] if self.with_sources else []
        return list(dict.fromkeys([*ids, "segments", *self.only.columns, *sources]))


@dataclass(slots=True, kw_only=True, eq=False)
class _ShardRows:
    """Rows of one shard: per group the numbers of the chosen rows, their lengths and sources.

    A source is a number of `names`, in which also those without a chosen row are.
    """

    rows: list[Ints] = field(default_factory=list)
    lengths: list[Ints] = field(default_factory=list)
    sources: list[Ints] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    longest: int = 0
    split: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def read_index(dumps: Sequence[DumpFolder], choice: RowChoice, report: Report = ignore) -> RowIndex:
    """Reads the light columns that the choice needs, of all shards.

    Args:
        dumps: dumps that agree (`check_agreement`).
        choice: which rows.
        report: told of every shard.

    Raises:
        DamagedError: a shard cannot be read; names it.
        InputError: no row is left, none is of a source that was asked for, or none has the tasks.
    """
    places = [(number, shard) for number, dump in enumerate(dumps) for shard in dump.shards]

    def read(place: tuple[int, Shard]) -> _ShardRows:
        return _read_shard(dumps[place[0]], place[1], choice)

    found = []
    with ThreadPoolExecutor(_THREADS) as threads:
        for rows in threads.map(read, places):
            found.append(rows)
            report(Progress(stage="index", done=len(found), total=len(places), unit="shards"))
    _check_sources(choice.only, {name for rows in found for name in rows.names})
    index = _joined(places, found)
    if not len(index):
        raise InputError(_nothing(dumps, index.left_out))
    if choice.tasks and choice.part != "held_out" and not index.split:
        raise InputError(
            f"none of the {len(index):,} rows has both a rationale and an answer, so there are no "
            "two tasks. Leave out --tasks, or take a dump of responses in which a parser found "
            "both (dump --generate --parser …)."
        )
    return index


def _joined(places: Sequence[tuple[int, Shard]], found: Sequence[_ShardRows]) -> RowIndex:
    groups = [
        GroupPlace(dump=number, shard=shard, group=group)
        for (number, shard), rows in zip(places, found, strict=True)
        for group in range(len(rows.rows))
    ]
    rows = [own for shard in found for own in shard.rows]
    none = np.zeros(0, np.int64)
    names = sorted({name for shard in found for name in shard.names})
    return RowIndex(
        groups=groups,
        group_R=np.repeat(np.arange(len(groups)), [len(own) for own in rows]),
        row_R=np.concatenate([none, *rows]),
        length_R=np.concatenate([none, *(own for shard in found for own in shard.lengths)]),
        longest=max((shard.longest for shard in found), default=0),
        sources=names,
        source_R=np.concatenate([none, *(_sources(shard, names) for shard in found)]),
        left_out=sum((shard.left_out for shard in found), Counter()),
        split=sum(shard.split for shard in found),
    )


def _read_shard(dump: DumpFolder, shard: Shard, choice: RowChoice) -> _ShardRows:
    file = dump.shard_file(shard)
    found = _ShardRows()
    for group in range(file.num_row_groups):
        with dump.reading(f"{layout.DATA}/{shard.name}"):
            table = file.read_row_group(group, columns=choice.columns)
            length_r = row_lengths(table)
        _choose(found, table, length_r, choice)
    return found


def _choose(found: _ShardRows, table: pa.Table, length_r: Ints, choice: RowChoice) -> None:
    """Adds the chosen rows of one row group."""
    left = np.ones(len(length_r), bool)
    for name, passed in choice.only.masks(table, length_r):
        found.left_out[name] += int((left & ~passed).sum())
        left &= passed
    row_q, length_q, split_q = _sequences(table, length_r, choice.tasks)
    found.longest = max(found.longest, int(length_q[left[row_q]].max(initial=0)))
    if choice.part != "all":
        ids, share = table["id"].to_pylist(), choice.held_out
        side = [belongs_to(choice.part, name, share) for name in ids]
        found.left_out[f"--holdout {share:g}"] += int((left & ~np.asarray(side)).sum())
        left &= side
    own = np.flatnonzero(left[row_q])
    found.rows.append(own)
    found.lengths.append(length_q[own])
    found.split += int(split_q[own].sum())
    if "source" in choice.columns:
        coded = table["source"].combine_chunks().fill_null("").dictionary_encode()
        names = coded.dictionary.to_pylist()
        numbers = np.asarray([found.names.setdefault(n, len(found.names)) for n in names], np.int64)
        found.sources.append(numbers[coded.indices.to_numpy(zero_copy_only=False)[row_q[own]]])


def _sequences(
    table: pa.Table, length_r: Ints, tasks: Tasks
) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """What is read of each row: whose it is, how long, and whether it is one of its tasks."""
    if not tasks:
        return np.arange(len(length_r)), length_r, np.zeros(len(length_r), bool)
    found = sequences(table, tasks)
    return found.row_Q, found.length_Q, found.task_Q >= 0


def _sources(shard: _ShardRows, names: Sequence[str]) -> Ints:
    """The sources of a shard's rows as numbers of all shards' names."""
    place = {name: number for number, name in enumerate(names)}
    numbers = np.asarray([place[name] for name in shard.names], np.int64)
    none = np.zeros(0, np.int64)
    return np.concatenate([none, *(numbers[own] for own in shard.sources)])


def row_lengths(table: pa.Table) -> Ints:
    """[R] tokens of each row: its segments cover it.

    Raises:
        ShardFault: they do not begin at 0, overlap, leave gaps, or there are none.
    """
    offsets, starts, ends = span_column(table, "segments")
    firsts, lasts = offsets[:-1], offsets[1:] - 1
    if np.any(lasts < firsts):
        raise ShardFault("a row has no segments, which must cover it")
    follow = starts.copy()
    follow[1:] = ends[:-1]
    follow[firsts] = 0
    if np.any(starts != follow) or np.any(ends <= starts):
        raise ShardFault("the segments of a row do not cover it one after the other")
    return ends[lasts].astype(np.int64)


def _check_sources(only: RowFilter, seen: set[str]) -> None:
    """A pattern that no row matches is a misspelt one, and would silently leave out data."""
    for pattern in only.sources:
        if not any(matches(source, pattern) for source in seen):
            shown = ", ".join(sorted(seen)[:_SHOWN]) + (", …" if len(seen) > _SHOWN else "")
            raise InputError(
                f"no row is of a source {pattern!r}; the dumps hold {shown}. Correct --sources."
            )


def _nothing(dumps: Sequence[DumpFolder], left_out: Mapping[str, int]) -> str:
    rows = sum(shard.rows for dump in dumps for shard in dump.shards)
    names = ", ".join(dump.url for dump in dumps)
    lines = "".join(f"\n  {name}: {count:,} left out" for name, count in left_out.items())
    return (
        f"none of the {rows:,} rows of {names} is left:{lines}\nEach counts what those before it "
        "let pass. Loosen one of them, or take a larger dump."
    )
