"""Where every row of the dumps is and how long it is, from two light columns; held in memory.

About 20 bytes a row. With it an epoch's order is a pure function of the seed, known before a
number is read, so that any step of it can be read by any rank alone.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
from stage2_student.split import Part, belongs_to

Ints = npt.NDArray[np.int64]

_THREADS = 8
"""Opening a shard waits for the store more than it computes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlace:
    """A row group: the dump's number, the shard, the group's number in it."""

    dump: int
    shard: Shard
    group: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowIndex:
    """R rows of one side of the split, in the order of dumps, shards and groups.

    Attributes:
        groups: every row group of every dump, also those without a row here.
        group_R: which of `groups` each row is in.
        row_R: its number in the group.
        length_R: its tokens.
        longest: tokens of the longest row of the dumps, on either side of the split.
    """

    groups: Sequence[GroupPlace]
    group_R: Ints
    row_R: Ints
    length_R: Ints
    longest: int

    def __len__(self) -> int:
        return len(self.group_R)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ShardRows:
    """Rows of one shard: per group the numbers of the chosen rows and their lengths."""

    rows: list[Ints]
    lengths: list[Ints]
    longest: int


def read_index(
    dumps: Sequence[DumpFolder], part: Part, held_out: float, report: Report = ignore
) -> RowIndex:
    """Reads the columns `id` and `segments` of all shards.

    Args:
        dumps: dumps that agree (`check_agreement`).
        part: which side of the split.
        held_out: share of the documents that is held out.
        report: told of every shard.

    Raises:
        DamagedError: a shard cannot be read; names it.
        InputError: no row is on that side.
    """
    places = [(number, shard) for number, dump in enumerate(dumps) for shard in dump.shards]

    def read(place: tuple[int, Shard]) -> _ShardRows:
        return _read_shard(dumps[place[0]], place[1], part, held_out)

    found = []
    with ThreadPoolExecutor(_THREADS) as threads:
        for rows in threads.map(read, places):
            found.append(rows)
            report(Progress(stage="index", done=len(found), total=len(places), unit="shards"))
    index = _joined(places, found)
    if not len(index):
        raise InputError(_nothing(dumps, part, held_out))
    return index


def _joined(places: Sequence[tuple[int, Shard]], found: Sequence[_ShardRows]) -> RowIndex:
    groups = [
        GroupPlace(dump=number, shard=shard, group=group)
        for (number, shard), rows in zip(places, found, strict=True)
        for group in range(len(rows.rows))
    ]
    rows = [own for shard in found for own in shard.rows]
    none = np.zeros(0, np.int64)
    return RowIndex(
        groups=groups,
        group_R=np.repeat(np.arange(len(groups)), [len(own) for own in rows]),
        row_R=np.concatenate([none, *rows]),
        length_R=np.concatenate([none, *(own for shard in found for own in shard.lengths)]),
        longest=max((shard.longest for shard in found), default=0),
    )


def _read_shard(dump: DumpFolder, shard: Shard, part: Part, held_out: float) -> _ShardRows:
    file = dump.shard_file(shard)
    rows, lengths, longest = [], [], 0
    for group in range(file.num_row_groups):
        with dump.reading(f"{layout.DATA}/{shard.name}"):
            table = file.read_row_group(group, columns=["id", "segments"])
            length_r = row_lengths(table)
        ids = table["id"].to_pylist() if part != "all" else []
        chosen = [row for row, name in enumerate(ids) if belongs_to(part, name, held_out)]
        own = np.asarray(chosen, np.int64) if part != "all" else np.arange(len(length_r))
        rows.append(own)
        lengths.append(length_r[own])
        longest = max(longest, int(length_r.max(initial=0)))
    return _ShardRows(rows=rows, lengths=lengths, longest=longest)


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


def _nothing(dumps: Sequence[DumpFolder], part: Part, held_out: float) -> str:
    rows = sum(shard.rows for dump in dumps for shard in dump.shards)
    names = ", ".join(dump.url for dump in dumps)
    return (
        f"none of the {rows:,} rows of {names} is on the side '{part}' of the split at a held-out "
        f"share of {held_out:g}. Choose another share with --holdout, or take a larger dump."
    )
