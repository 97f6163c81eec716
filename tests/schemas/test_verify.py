"""Verify finds what is wrong, says where and what to do, and finds nothing in a whole dump."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import layout
from schemas.alignment import merged_alignment
from schemas.columns import shard_columns
from schemas.progress import Progress
from schemas.shard_sums import ShardSums
from schemas.shards import write_shard
from schemas.tokenizer_fingerprint import tokenizer_fingerprint
from schemas.verify import Share, Verification, verify
from tests.dumps import Dump, sha, write_dump
from tests.reliability.rewriting import footer_of, shard_path, write_manifest
from tests.schemas.verifying import problems

SIGNALS = ["topk_ids", "topk_logits", "tail_ids", "tail_logits", "tail_logmass", "token_logprobs"]


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    return write_dump(tmp_path / "dump", count=24)


def rewrite_shard(dump: Dump, change: Any) -> None:
    """The first shard with other rows; its ledger line has the right hash, size and sums."""
    table = pq.read_table(shard_path(dump, 0))
    rows = table.to_pylist()
    change(rows)
    columns = shard_columns(dump.manifest.capture.temperatures)
    table = pa.Table.from_pylist(rows, schema=table.schema)
    footer = footer_of(dump)
    with shard_path(dump, 0).open("wb") as sink:
        write_shard(sink, [table], columns, footer)
    data = shard_path(dump, 0).read_bytes()
    sums = ShardSums()
    sums.add(table)
    update = {"bytes": len(data), "sha256": sha(data), "statistics": sums.statistics()}
    shards = [dump.manifest.shards[0].model_copy(update=update), *dump.manifest.shards[1:]]
    alignment = merged_alignment([shard.statistics.alignment for shard in shards])
    write_manifest(dump, shards=shards, alignment=alignment)


def test_a_whole_dump(dump: Dump) -> None:
    told: list[Progress] = []
    found = verify(str(dump.path), told.append)
    assert isinstance(found, Verification) and found.ok and found.notes == ()
    assert (found.shards, found.rows) == (3, 24)
    assert found.tokens == sum(len(s.input_ids) for s in dump.samples.values())
    assert found.positions == sum(len(s.positions) for s in dump.samples.values())
    assert found.bytes == sum(p.stat().st_size for p in (dump.path / layout.DATA).iterdir())
    assert found.identity == dump.manifest.identity
    assert found.alignment == dump.manifest.alignment
    assert told[-1].done == told[-1].total == found.bytes


def test_every_flipped_bit_of_a_shard(dump: Dump) -> None:
    data = shard_path(dump, 1).read_bytes()
    for place in range(0, len(data), 499):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        shard_path(dump, 1).write_bytes(flipped)
        assert "altered or cut short" in problems(dump)
    shard_path(dump, 1).write_bytes(data)
    assert verify(str(dump.path)).ok


def test_truncation_and_absence_are_told_apart_and_counted(dump: Dump) -> None:
    data = shard_path(dump, 0).read_bytes()
    shard_path(dump, 0).write_bytes(data[:-7])
    shard_path(dump, 2).unlink()
    found = verify(str(dump.path))
    assert [f.where for f in found.findings] == [
        f"data/{dump.manifest.shards[0].name}",
        f"data/{dump.manifest.shards[2].name}",
    ]
    assert "cut short" in found.findings[0].problem and "missing" in found.findings[1].problem
    assert found.shards == 1, "the good one was read all the same"


def test_poisoned_values_with_a_right_hash(dump: Dump) -> None:
    def poison(rows: list[Any]) -> None:
        rows[2]["topk_ids"][0][0] = 9999

    rewrite_shard(dump, poison)
    assert "row group 0: topk_ids holds the id 9999" in problems(dump)


def test_the_same_id_twice_at_a_position(dump: Dump) -> None:
    def double(rows: list[Any]) -> None:
        rows[2]["topk_ids"][0][1] = rows[2]["topk_ids"][0][0]

    rewrite_shard(dump, double)
    assert "a position keeps the same id twice" in problems(dump)


def test_a_draw_that_is_kept(dump: Dump) -> None:
    def draw(rows: list[Any]) -> None:
        row = next(r for r in rows if any(r["tail_ids"]))
        place = next(i for i, ids in enumerate(row["tail_ids"]) if ids)
        row["tail_ids"][place][0] = row["topk_ids"][place][0]

    rewrite_shard(dump, draw)
    assert "a tail draw is among the kept entries" in problems(dump)


def test_a_sample_twice(dump: Dump) -> None:
    def rename(rows: list[Any]) -> None:
        rows[0]["id"] = list(dump.samples)[-1]

    rewrite_shard(dump, rename)
    text = problems(dump)
    assert "1 sample ids appear more than once" in text
    assert dump.manifest.shards[0].name in text and dump.manifest.shards[2].name in text


def test_signals_that_slipped(dump: Dump) -> None:
    def slip(rows: list[Any]) -> None:
        for row in rows:
            for name in SIGNALS:
                row[name] = [row[name][0], *row[name][:-1]]

    rewrite_shard(dump, slip)
    assert "realised token's log-probability is not the one of the kept entries" in problems(dump)


@pytest.mark.parametrize(
    ("name", "by"),
    [("kept", 1), ("drawn", 1), ("tail_mass", 0.01), ("negative_logprob", 0.1)],
)
def test_statistics_that_lie(dump: Dump, name: str, by: float) -> None:
    shard = dump.manifest.shards[0]
    statistics = shard.statistics.model_copy(update={name: getattr(shard.statistics, name) + by})
    shards = [shard.model_copy(update={"statistics": statistics}), *dump.manifest.shards[1:]]
    write_manifest(dump, shards=shards)
    assert f"the manifest says {name}" in problems(dump)


def test_counts_that_lie(dump: Dump) -> None:
    shard = dump.manifest.shards[0]
    for name in ("rows", "tokens", "positions"):
        changed = shard.model_copy(update={name: getattr(shard, name) + 1})
        write_manifest(dump, shards=[changed, *dump.manifest.shards[1:]])
        assert name in problems(dump)


def test_an_alignment_that_lies(dump: Dump) -> None:
    alignment = dump.manifest.alignment.model_copy(update={"positions": 1})
    write_manifest(dump, alignment=alignment)
    assert "1 positions took part" in problems(dump)


def test_left_overs_are_a_note(dump: Dump) -> None:
    (dump.path / "data/part-000000-ffff.parquet").write_bytes(b"orphan")
    found = verify(str(dump.path))
    assert found.ok
    assert "1 files in data/ are not part of the dump (part-000000-ffff" in found.notes[0]


def test_the_tokenizer_is_the_teachers(dump: Dump) -> None:
    text = json.dumps({"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}}})
    own = dump.manifest.tokenizer.model_copy(update={"fingerprint": tokenizer_fingerprint(text)})
    write_manifest(dump, tokenizer=own, shards=[], alignment=merged_alignment([]))
    path = dump.path / "tokenizer/tokenizer.json"
    path.write_text(text.replace(": ", " : "))
    assert verify(str(dump.path)).ok
    for bad in (text.replace('"b"', '"c"'), text[:-3], "[]"):
        path.write_text(bad)
        assert "tokenizer.json: it is not the teacher's tokenizer" in problems(dump)
    path.unlink()
    assert "tokenizer.json is not there" in verify(str(dump.path)).notes[0]


def test_memory_does_not_grow_with_the_dump(tmp_path: Path) -> None:
    """Ten times the shards, the same peak within 1.5."""
    peaks = []
    for count in (16, 160):
        dump = write_dump(tmp_path / str(count), count=count, longest=200)
        verify(str(dump.path))
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        verify(str(dump.path))
        peaks.append(tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - before)
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + (1 << 20)
    assert np.isfinite(peaks).all()


def test_several_at_a_time_find_the_same(dump: Dump) -> None:
    path = shard_path(dump, 1)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert verify(str(dump.path), jobs=3) == verify(str(dump.path))


def test_shares_go_through_the_whole_dump(dump: Dump) -> None:
    parts = [verify(str(dump.path), share=Share(part=part, parts=2)) for part in (1, 2)]
    assert [(found.shards, found.of_shards, found.ok) for found in parts] == [
        (2, 3, True),
        (1, 3, True),
    ]
    assert sum(found.rows for found in parts) == 24
    shard_path(dump, 1).unlink()
    assert [verify(str(dump.path), share=Share(part=part, parts=2)).ok for part in (1, 2)] == [
        True,
        False,
    ]


def test_findings_end_with_a_command(dump: Dump) -> None:
    shard_path(dump, 1).unlink()
    (found,) = verify(str(dump.path)).findings
    assert found.unit == 1
    assert found.cure.endswith(f": potstill dataset pull SOURCE --out {dump.path}")
