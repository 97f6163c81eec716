"""One shard as a Parquet file: the settings it is written with, and how it is opened.

The settings and what each is worth are measured in FORMAT.md section "Parquet settings".
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.columns import Column, arrow_schema
from schemas.manifest import canonical

FOOTER_KEY = "potstill"
"""Our own key in the Parquet footer; its value is canonical JSON."""

ZSTD_LEVEL = 1
ROWS_PER_GROUP = 64
TOKENS_PER_GROUP = 20_000
_PAGE_BYTES = 1 << 20


def write_shard(
    sink: BinaryIO, tables: Iterable[pa.Table], columns: list[Column], footer: dict[str, Any]
) -> None:
    """Writes one shard; every table of `tables` becomes one row group.

    Args:
        sink: an open binary file; left open.
        tables: tables of exactly `arrow_schema(columns)`.
        columns: the dump's columns in file order.
        footer: what the footer repeats, stored as JSON under FOOTER_KEY.
    """
    with open_shard(sink, columns, lambda: footer) as write:
        for table in tables:
            write(table)


@contextmanager
def open_shard(
    sink: BinaryIO,
    columns: list[Column],
    footer: Callable[[], Mapping[str, Any]],
    level: int = ZSTD_LEVEL,
) -> Iterator[Callable[[pa.Table], None]]:
    """The same, a table at a time: gives the function that writes one row group.

    `footer` is asked at the end, for how many rows there are may not be known before.
    """
    schema = arrow_schema(columns)
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=level,
        use_dictionary=False,
        write_statistics=False,
        column_encoding=_encodings(schema),
        data_page_version="1.0",
        data_page_size=_PAGE_BYTES,
        store_schema=False,
        write_page_checksum=True,
        write_page_index=True,
    ) as writer:
        yield lambda table: writer.write_table(table, row_group_size=max(1, table.num_rows))
        writer.add_key_value_metadata({FOOTER_KEY: canonical(footer()).decode()})


def _encodings(schema: pa.Schema) -> dict[str, str]:
    encodings: dict[str, str] = {}
    for field in schema:
        for path, kind in _leaves(field.name, field.type):
            encodings[path] = "BYTE_STREAM_SPLIT" if _splittable(kind) else "PLAIN"
    return encodings


def _splittable(kind: pa.DataType) -> bool:
    """Bytes of fixed width are not: duckdb and polars refuse them so, and they compress worse."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _leaves(path: str, kind: pa.DataType) -> list[tuple[str, pa.DataType]]:
    if pa.types.is_list(kind):
        return _leaves(f"{path}.list.element", kind.value_type)
    if pa.types.is_struct(kind):
        return [leaf for f in kind for leaf in _leaves(f"{path}.{f.name}", f.type)]
    return [(path, kind)]
