"""Long ledgers: beyond `INLINE` shards the lines stand in Parquet files, which manifest.json names.

A million lines are 192 MB of JSON and seconds of parsing. In Parquet they are a quarter of that;
what is open is held as it lies on the disk, and lines are made when somebody asks for them.
"""

import hashlib
import io
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Union, get_args, get_origin, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from schemas import layout
from schemas.errors import DamagedError
from schemas.ledger_part import LedgerPart
from schemas.manifest import Manifest, Shard
from schemas.shard_reading import ShardFault, check_raw_footer

INLINE = 10_000
"""Up to so many shards, the ledger stands in manifest.json itself."""

PART_LINES = 100_000
GROUP_LINES = 10_000

_PLAIN: dict[Any, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
}


def ledger_parts(shards: Iterable[Shard]) -> Iterator[tuple[LedgerPart, bytes]]:
    """The files of a ledger and their content; a line at a time, so that memory stays flat.

    Args:
        shards: all lines, ascending by unit.
    """
    lines = iter(shards)
    while first := _take(lines, GROUP_LINES):
        sink = io.BytesIO()
        count = 0
        with pq.ParquetWriter(
            sink,
            SCHEMA,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            store_schema=False,
            write_page_checksum=True,
        ) as writer:
            group = first
            while group:
                rows = [shard.model_dump(mode="json") for shard in group]
                writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
                count += len(group)
                group = _take(lines, GROUP_LINES) if count < PART_LINES else []
        data = sink.getvalue()
        sha256 = hashlib.sha256(data).hexdigest()
        name = f"{sha256[:16]}.parquet"
        yield LedgerPart(name=name, shards=count, bytes=len(data), sha256=f"sha256:{sha256}"), data


def read_ledger(
    manifest: Manifest, read: Callable[[str], bytes | None], where: str
) -> Sequence[Shard]:
    """All lines of a manifest's ledger, wherever they stand.

    Args:
        manifest: as read.
        read: gives the content of a file of the dump by its name there; None when it is missing.
        where: the dump, for the message.

    Raises:
        DamagedError: a file of the ledger is missing or altered.
    """
    if manifest.ledger is None:
        return manifest.shards
    parts = []
    for part in manifest.ledger:
        name = layout.ledger_part(part.name)
        data = read(name)
        try:
            parts.append(_checked(part, data))
        except (ShardFault, pa.ArrowException, OSError, ValueError) as error:
            raise DamagedError(
                f"{name} in {where}: {str(error).rstrip('.')}. It holds a part of the list of "
                "shards: take a fresh copy of that file."
            ) from error
    lines = LedgerLines(parts)
    if (np.diff(lines.units()) <= 0).any():
        raise DamagedError(f"the ledger of {where} names a unit twice, or out of order.")
    return lines


class LedgerLines(Sequence[Shard]):
    """The lines of some ledger files; holds the files' bytes and one group of lines."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = list(parts)
        files = [pq.ParquetFile(io.BytesIO(part)) for part in self._parts]
        self._groups = [
            (number, group, file.metadata.row_group(group).num_rows)
            for number, file in enumerate(files)
            for group in range(file.metadata.num_row_groups)
        ]
        self._ends = np.cumsum([rows for *_, rows in self._groups])
        self._held: tuple[int, list[Shard]] = (-1, [])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __iter__(self) -> Iterator[Shard]:
        for group in range(len(self._groups)):
            yield from self._lines(group)

    @overload
    def __getitem__(self, index: int) -> Shard: ...
    @overload
    def __getitem__(self, index: slice) -> list[Shard]: ...
    def __getitem__(self, index: int | slice) -> Shard | list[Shard]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        group = int(np.searchsorted(self._ends, place, side="right"))
        line = int(place - self._ends[group] + self._groups[group][2])
        return self._lines(group)[line]

    def units(self) -> Any:
        """[shards] the unit of every line."""
        tables = [pq.read_table(io.BytesIO(part), columns=["unit"]) for part in self._parts]
        return np.concatenate([table["unit"].to_numpy() for table in tables] or [np.zeros(0)])

    def _lines(self, group: int) -> list[Shard]:
        if self._held[0] != group:
            number, within, _ = self._groups[group]
            file = pq.ParquetFile(io.BytesIO(self._parts[number]))
            rows = file.read_row_group(within).to_pylist()
            self._held = (group, [_line(row) for row in rows])
        return self._held[1]


def _checked(part: LedgerPart, data: bytes | None) -> bytes:
    if data is None:
        raise ShardFault("it is missing")
    if len(data) != part.bytes:
        raise ShardFault(f"it has {len(data):,} bytes instead of {part.bytes:,}")
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != part.sha256:
        raise ShardFault("it was altered: it does not hash to what manifest.json says")
    check_raw_footer(io.BytesIO(data), len(data))
    file = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)
    unknown = [field.name for field in file.schema_arrow if field not in SCHEMA]
    if unknown:
        raise ShardFault(f"its column {unknown[0]} is none of a ledger's")
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    if sum(group.num_rows for group in groups) != part.shards:
        raise ShardFault(f"it has {file.metadata.num_rows} lines instead of {part.shards}")
    if any(group.num_rows > GROUP_LINES for group in groups):
        raise ShardFault(f"it has more than {GROUP_LINES} lines in a row group")
    return data


def _take(lines: Iterator[Shard], count: int) -> list[Shard]:
    return list(islice(lines, count))


def _line(row: dict[str, Any]) -> Shard:
    try:
        return Shard.model_validate(_given(row, Shard))
    except ValidationError as error:
        first = error.errors()[0]
        raise DamagedError(
            f"a line of the ledger does not follow FORMAT.md: {first['msg']} in {first['loc']}. "
            "Another program wrote it; take a fresh copy of the dump."
        ) from error


def _given(row: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """A row as JSON would have it: without what is null because it has its default."""
    given = {}
    for name, value in row.items():
        field = model.model_fields[name]
        if value is not None or field.is_required():
            inner = _model(field.annotation)
            given[name] = _given(value, inner) if inner and value is not None else value
    return given


def _struct(model: type[BaseModel]) -> list[pa.Field]:
    return [pa.field(name, _arrow(f.annotation)) for name, f in model.model_fields.items()]


def _arrow(annotation: Any) -> pa.DataType:
    inner = _model(annotation)
    if inner is not None:
        return pa.struct(_struct(inner))
    plain = _not_none(annotation)
    return _PLAIN[getattr(plain, "__origin__", plain)]


def _model(annotation: Any) -> type[BaseModel] | None:
    plain = _not_none(annotation)
    return plain if isinstance(plain, type) and issubclass(plain, BaseModel) else None


def _not_none(annotation: Any) -> Any:
    """`X` of `X | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(kind for kind in get_args(annotation) if kind is not type(None))
    return annotation


SCHEMA = pa.schema(_struct(Shard))
"""The columns of a ledger: the fields of `Shard`, all nullable."""
