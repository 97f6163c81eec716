"""Rows of a dump as they go into another one: a row group at a time, checked, chosen, conformed.

Shapes: R rows of a row group.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import layout
from schemas.columns import Column, arrow_schema
from schemas.dump_folder import DumpFolder
from schemas.hidden_states import check_states
from schemas.manifest import Shard
from schemas.value_ranges import check_values

Bools = npt.NDArray[np.bool_]
Masks = Mapping[str, Sequence[Bools]]
"""By shard, per row group [R]: which rows are taken."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Some rows of a dump, and their hidden states where these are kept."""

    table: pa.Table
    hidden: pa.Table | None = None

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return sum(len(chunk.flatten()) for chunk in self.table["input_ids"].chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is taken of a dump.

    Attributes:
        columns: the new dump's, in file order.
        origin: what the column `origin` says where the dump has none.
        hidden: whether hidden states are taken, too.
        masks: which rows; None for all.
    """

    columns: list[Column]
    origin: str = ""
    hidden: bool = False
    masks: Masks | None = None


def read_rows(dump: DumpFolder, wanted: Wanted) -> Iterator[Rows]:
    """The wanted rows, in order; what no row is wanted of is not read.

    Raises:
        DamagedError: a shard is bad.
    """
    for shard in dump.shards:
        masks = None if wanted.masks is None else wanted.masks[shard.name]
        if masks is None or any(mask.any() for mask in masks):
            yield from _shard_rows(dump, shard, wanted, masks)


def light_groups(dump: DumpFolder, columns: Sequence[str]) -> Iterator[tuple[Shard, int, pa.Table]]:
    """Every row group with some columns only, checked: the shard and the group's number."""
    for shard in dump.shards:
        file = dump.shard_file(shard)
        for group in range(file.num_row_groups):
            yield shard, group, _read(dump, file, shard, group, list(columns))


def row_ids(dump: DumpFolder, shard: Shard, group: int) -> list[str]:
    """The ids of one row group."""
    table = _read(dump, dump.shard_file(shard), shard, group, ["id"])
    names: list[str] = table["id"].to_pylist()
    return names


def _shard_rows(
    dump: DumpFolder, shard: Shard, wanted: Wanted, masks: Sequence[Bools] | None
) -> Iterator[Rows]:
    file = dump.shard_file(shard)
    states = dump.hidden_file(shard) if wanted.hidden else None
    held = {column.name for column in dump.columns}
    names = [column.name for column in wanted.columns if column.name in held]
    for group in range(file.num_row_groups):
        mask = None if masks is None else masks[group]
        if mask is not None and not mask.any():
            continue
        table = conform(_read(dump, file, shard, group, names), wanted)
        hidden = None if states is None else _read_states(dump, states, shard, group)
        if mask is not None and not mask.all():
            table = table.filter(mask)
            hidden = None if hidden is None else hidden.filter(mask)
        yield Rows(table=table, hidden=hidden)


def _read(
    dump: DumpFolder, file: pq.ParquetFile, shard: Shard, group: int, names: list[str]
) -> pa.Table:
    name = f"{layout.DATA}/{shard.name}"
    with dump.reading(name):
        table = file.read_row_group(group, columns=names)
    check_values(table, dump.manifest, f"{name} in {dump.url}")
    return table


def _read_states(dump: DumpFolder, file: pq.ParquetFile, shard: Shard, group: int) -> pa.Table:
    name = f"{layout.HIDDEN}/{shard.name}"
    with dump.reading(name):
        table = file.read_row_group(group)
    check_states(table, dump.manifest.capture, f"{name} in {dump.url}")
    return table


def conform(table: pa.Table, wanted: Wanted) -> pa.Table:
    """The table with exactly the wanted columns; texts that it lacks are empty."""
    schema = arrow_schema(wanted.columns)
    held = set(table.column_names)
    arrays = [
        table[field.name] if field.name in held else _filled(field, table.num_rows, wanted.origin)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _filled(field: pa.Field, count: int, origin: str) -> pa.Array:
    text = origin if field.name == "origin" else ""
    value = None if field.nullable else text
    return pa.repeat(pa.scalar(value, field.type), count)
