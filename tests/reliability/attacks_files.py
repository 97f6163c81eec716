"""Attacks by what lies in a dump: links, pipes, bombs, Parquet that is not ours, numbers."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.columns import arrow_schema, shard_columns
from schemas.manifest import canonical
from tests.dumps import Dump
from tests.reliability.attacks_manifest import SECRET, Attack
from tests.reliability.rewriting import (
    footer_of,
    rows_of,
    shard_path,
    write_rows,
    write_shard_bytes,
    write_table,
)

BOMB_BYTES = 1 << 30


def _file(make: Callable[[Path, Dump], Any], of: Callable[[Dump], Path] = shard_path) -> Attack:
    """Something else in a file's place."""

    def attack(dump: Dump) -> None:
        path = of(dump)
        path.unlink(missing_ok=True)
        make(path, dump)

    return attack


def _tokenizer(dump: Dump) -> Path:
    return dump.path / "tokenizer" / "tokenizer.json"


def _to_secret(path: Path, dump: Dump) -> None:
    path.symlink_to(dump.path.parent / SECRET)


def _folder_elsewhere(dump: Dump) -> None:
    """All shards through a link: each is a regular file behind it, of other content."""
    data = dump.path / "data"
    data.rename(dump.path.parent / "elsewhere")
    data.symlink_to(dump.path.parent / "elsewhere")
    shard_path(dump).write_bytes(shard_path(dump, 1).read_bytes())


FILES: dict[str, Attack] = {
    "a shard is a link to a secret": _file(_to_secret),
    "a shard is a link to endless zeros": _file(lambda path, _: path.symlink_to("/dev/zero")),
    "a shard is a link to itself": _file(lambda path, _: path.symlink_to(path)),
    "a shard is a pipe": _file(lambda path, _: os.mkfifo(path)),
    "a shard is a folder": _file(lambda path, _: path.mkdir()),
    "a shard is missing": _file(lambda path, _: None),
    "a shard is empty": _file(lambda path, _: path.touch()),
    "the folder of shards is a link": _folder_elsewhere,
    "the tokenizer is a link to a secret": _file(_to_secret, _tokenizer),
    "the tokenizer is a pipe": _file(lambda path, _: os.mkfifo(path), _tokenizer),
    "the tokenizer is a link to endless zeros": _file(
        lambda path, _: path.symlink_to("/dev/zero"), _tokenizer
    ),
    "the tokenizer is larger than is read": _file(
        lambda path, _: path.write_bytes(b" " * (65 << 20)), _tokenizer
    ),
    "the tokenizer is nested a hundred thousand times": _file(
        lambda path, _: path.write_bytes(b"[" * 100_000), _tokenizer
    ),
    "the tokenizer is another's": _file(
        lambda path, _: path.write_text('{"model": {"vocab": {"a": 0}}}'), _tokenizer
    ),
}


def _bytes(change: Callable[[bytes], bytes]) -> Attack:
    """Other bytes as a shard, which the ledger agrees with."""
    return lambda dump: write_shard_bytes(dump, change(shard_path(dump).read_bytes()))


def _table(change: Callable[[pa.Table], pa.Table], **settings: Any) -> Attack:
    """Another table as a shard, written with settings that are not ours."""

    def attack(dump: Dump) -> None:
        table = change(pq.read_table(shard_path(dump)))
        sink = pa.BufferOutputStream()
        options = {
            "compression": "zstd",
            "use_dictionary": False,
            "store_schema": False,
            **settings,
        }
        with pq.ParquetWriter(sink, table.schema, **options) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({"potstill": canonical(footer_of(dump)).decode()})
        write_shard_bytes(dump, sink.getvalue().to_pybytes())

    return attack


def _cast(name: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(
        table.schema.get_field_index(name), name, table[name].cast(kind)
    )


def _extra(table: pa.Table) -> pa.Table:
    return table.append_column("hook", pa.array(["x"] * table.num_rows))


def _footer(**changes: Any) -> Attack:
    """Another key of ours in the footer."""

    def attack(dump: Dump) -> None:
        table = pq.read_table(shard_path(dump))
        sink = pa.BufferOutputStream()
        schema = arrow_schema(shard_columns(dump.manifest.capture.temperatures))
        with pq.ParquetWriter(sink, schema, use_dictionary=False, store_schema=False) as writer:
            writer.write_table(table.cast(schema))
            text = canonical({**footer_of(dump), **changes}).decode()
            writer.add_key_value_metadata({"potstill": text})
        write_shard_bytes(dump, sink.getvalue().to_pybytes())

    return attack


def _bomb(dump: Dump) -> None:
    """A gigabyte of one letter as a sample's id: thirty kilobytes of zstd."""
    rows = rows_of(dump)
    rows[0]["id"] = "a" * (BOMB_BYTES // 4)
    schema = arrow_schema(shard_columns(dump.manifest.capture.temperatures))
    write_table(dump, pa.Table.from_pylist(rows, schema=schema))


def _token_bomb(dump: Dump) -> None:
    """A hundred million equal tokens in one row."""
    table = pq.read_table(shard_path(dump))
    lengths = [len(row) for row in table["input_ids"].to_pylist()]
    lengths[0] = 1 << 27
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    kind = table.schema.field("input_ids").type
    values = pa.array(np.zeros(sum(lengths), np.int32))
    ids = pa.ListArray.from_arrays(offsets, values, type=kind)
    index = table.schema.get_field_index("input_ids")
    write_table(dump, table.set_column(index, table.schema.field(index), ids))


PARQUET: dict[str, Attack] = {
    "no Parquet at all": _bytes(lambda d: b"PAR1" + os.urandom(5000)),
    "compressed": _bytes(gzip.compress),
    "a footer longer than the file": _bytes(lambda d: d[:-8] + b"\xff\xff\xff\x7fPAR1"),
    "a footer of length 0": _bytes(lambda d: d[:-8] + b"\0\0\0\0PAR1"),
    "encrypted": _bytes(lambda d: d[:-4] + b"PARE"),
    "zeros in the middle": _bytes(lambda d: d[:500] + bytes(300) + d[800:]),
    "an Arrow schema": _table(lambda t: t, store_schema=True),
    "dictionaries": _table(lambda t: t, use_dictionary=True),
    "a column more": _table(_extra),
    "a column less": _table(lambda t: t.drop_columns(["tail_logmass"])),
    "columns in another order": _table(lambda t: t.select(t.column_names[::-1])),
    "ids of 64 bits": _table(_cast("input_ids", pa.list_(pa.int64()))),
    "texts as bytes": _table(_cast("id", pa.binary())),
    "nothing of ours in the footer": _footer(plan=None),
    "the plan of another dump": _footer(plan="sha256:" + "0" * 64),
    "the unit of another shard": _footer(unit=99),
    "more rows in the footer": _footer(rows=10**9),
    "a bomb of text": _bomb,
    "a bomb of tokens": _token_bomb,
}


def _rows(change: Callable[[list[dict[str, Any]]], Any]) -> Attack:
    return lambda dump: write_rows(dump, lambda rows: change(rows) and None)


def _first(column: str, value: Any, depth: int = 1) -> Attack:
    """Another first number of a column."""

    def change(rows: list[dict[str, Any]]) -> None:
        place = rows[0][column]
        for _ in range(depth - 1):
            place = place[0]
        place[0] = value

    return _rows(change)


VALUES: dict[str, Attack] = {
    "a token outside the head": _first("input_ids", 9999),
    "a negative token": _first("input_ids", -1),
    "a kept id outside the head": _first("topk_ids", 1 << 30, 2),
    "a negative kept id": _first("topk_ids", -5, 2),
    "NaN among the logits": _first("topk_logits", float("nan"), 2),
    "an infinity among the logits": _first("topk_logits", float("inf"), 2),
    "a positive logit": _first("topk_logits", 5.0, 2),
    "a tail mass above one": _first("tail_logmass", 1.0),
    "a tail mass of one": _first("tail_logmass", 0.0),
    "NaN as tail mass": _first("tail_logmass", float("nan")),
    "a log-probability above 0": _first("token_logprobs", 3.0),
    "rising logits": _rows(lambda rows: rows[0]["topk_logits"][0].reverse()),
    "an id kept twice": _rows(
        lambda rows: rows[0]["topk_ids"][0].__setitem__(1, rows[0]["topk_ids"][0][0])
    ),
    "a position without entries": _rows(
        lambda rows: [rows[0][n][0].clear() for n in ("topk_ids", "topk_logits")]
    ),
    "more ids than logits": _rows(lambda rows: rows[0]["topk_ids"][0].append(1)),
    "fewer masses than positions": _rows(lambda rows: rows[0]["tail_logmass"].pop()),
    "a span past the end": _first("captured", {"start": 0, "end": 1 << 30}),
    "a span that starts below 0": _first("captured", {"start": -5, "end": 2}),
    "segments that leave a gap": _first("segments", {"kind": "text", "start": 1, "end": 2}),
    "no segments": _rows(lambda rows: rows[0]["segments"].clear()),
    "a sample twice": _rows(lambda rows: rows[0].update(id=rows[1]["id"])),
    "signals of another position": _rows(
        lambda rows: [row["token_logprobs"].insert(0, row["token_logprobs"].pop()) for row in rows]
    ),
}
