"""What tells rows apart without holding them: hashes of ids and tokens, 8 bytes a row each.

Shapes: N rows of a dump, in its order.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.dataset_rows import Bools, Masks, light_groups
from schemas.dump_folder import DumpFolder
from schemas.manifest import Shard
from schemas.progress import Progress, Report, ignore
from schemas.row_group import list_column

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A row group: its shard, its number there, and its first row's number in the dump."""

    shard: Shard
    group: int
    start: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowHashes:
    """Every row of a dump.

    Attributes:
        ids: [N] hashes of the sample ids.
        places: the row groups, in order.
    """

    ids: Hashes
    places: Sequence[Place]

    def place(self, row: int) -> tuple[Place, int]:
        """The row group that holds a row, and its number there."""
        starts = [place.start for place in self.places]
        found = self.places[int(np.searchsorted(starts, row, "right")) - 1]
        return found, row - found.start

    def masks(self, chosen: Bools) -> Masks:
        """[N] which rows are chosen, by shard and row group."""
        ends = [*(place.start for place in self.places), len(self.ids)]
        masks: dict[str, list[Bools]] = {}
        for place, (start, end) in zip(self.places, pairwise(ends), strict=True):
            masks.setdefault(place.shard.name, []).append(chosen[start:end])
        return masks


def row_hashes(dump: DumpFolder, report: Report = ignore) -> RowHashes:
    """Reads the ids of all rows.

    Raises:
        DamagedError: a shard is bad.
    """
    ids: list[Hashes] = [np.zeros(0, np.uint64)]
    places, start = [], 0
    for shard, group, table in _told(dump, "id", "read ids", report):
        ids.append(_hashed(name.encode() for name in table["id"].to_pylist()))
        places.append(Place(shard=shard, group=group, start=start))
        start += table.num_rows
    return RowHashes(ids=np.concatenate(ids), places=places)


def token_hashes(dump: DumpFolder, report: Report = ignore) -> Hashes:
    """Reads the tokens of all rows: [N] hashes of their token ids.

    Raises:
        DamagedError: a shard is bad.
    """
    groups = _told(dump, "input_ids", "read tokens", report)
    tokens = [_hashed(_token_bytes(table)) for _, _, table in groups]
    return np.concatenate([np.zeros(0, np.uint64), *tokens])


def _told(
    dump: DumpFolder, column: str, stage: str, report: Report
) -> Iterator[tuple[Shard, int, pa.Table]]:
    done, total = 0, sum(shard.rows for shard in dump.shards)
    for shard, group, table in light_groups(dump, [column]):
        yield shard, group, table
        done += table.num_rows
        report(Progress(stage=stage, done=done, total=total, unit="rows"))


def _token_bytes(table: pa.Table) -> Iterator[bytes]:
    lists = list_column(table, "input_ids")
    return (lists.values[start:end].tobytes() for start, end in pairwise(lists.offsets))


def _hashed(values: Iterator[bytes]) -> Hashes:
    digests = (hashlib.blake2b(value, digest_size=8).digest() for value in values)
    return np.frombuffer(b"".join(digests), "<u8")
