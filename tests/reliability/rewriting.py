"""Dumps altered by somebody who knows how to make all hashes right again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas import layout
from schemas.columns import arrow_schema, shard_columns
from schemas.manifest import Manifest, manifest_identity, plan_identity, settings_of
from schemas.shards import write_shard
from schemas.strict_json import json_bytes
from tests.dumps import Dump, sha


def shard_path(dump: Dump, index: int = 0) -> Path:
    """The file of a shard."""
    return dump.path / layout.DATA / dump.manifest.shards[index].name


def write_manifest(dump: Dump, **changes: Any) -> Manifest:
    """A manifest with other fields, its hashes right."""
    manifest = dump.manifest.model_copy(update=changes)
    manifest = manifest.model_copy(update={"plan": plan_identity(settings_of(manifest))})
    manifest = manifest.model_copy(update={"identity": manifest_identity(manifest)})
    (dump.path / layout.MANIFEST).write_bytes(json_bytes(manifest))
    return manifest


def write_shard_bytes(dump: Dump, data: bytes, **line: Any) -> None:
    """Other bytes as the first shard; its ledger line has their size and hash."""
    shard_path(dump).write_bytes(data)
    update = {"bytes": len(data), "sha256": sha(data), **line}
    first, *others = dump.manifest.shards
    write_manifest(dump, shards=[first.model_copy(update=update), *others])


def footer_of(dump: Dump) -> dict[str, Any]:
    """Our own key in the first shard's footer."""
    value: dict[str, Any] = json.loads(pq.read_metadata(shard_path(dump)).metadata[b"potstill"])
    return value


def rows_of(dump: Dump) -> list[dict[str, Any]]:
    """The first shard's rows."""
    rows: list[dict[str, Any]] = pq.read_table(shard_path(dump)).to_pylist()
    return rows


def write_rows(dump: Dump, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """The first shard with other rows."""
    rows, columns = rows_of(dump), shard_columns(dump.manifest.capture.temperatures)
    change(rows)
    table = pa.Table.from_pylist(rows, schema=arrow_schema(columns))
    write_table(dump, table)


def write_table(dump: Dump, table: pa.Table) -> None:
    """The first shard as another table, written as potstill writes."""
    columns = shard_columns(dump.manifest.capture.temperatures)
    sink = pa.BufferOutputStream()
    write_shard(sink, [table], columns, footer_of(dump))
    write_shard_bytes(dump, sink.getvalue().to_pybytes())
