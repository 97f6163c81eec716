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
from schemas.columns import hidden_columns, shard_columns
from schemas.manifest import manifest_identity, plan_identity, settings_of
from schemas.progress import Progress
from schemas.shard_sums import ShardSums
from schemas.shards import write_shard
from schemas.strict_json import json_bytes
from schemas.tokenizer_fingerprint import tokenizer_fingerprint
from schemas.verify import Share, Verification, verify
from stage1_teacher.hidden_policy import with_widths
from tests.dumps import Dump, hidden_policy, sha, write_dump

SIGNALS = ["topk_ids", "topk_logits", "tail_ids", "tail_logits", "tail_logmass", "token_logprobs"]


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    return write_dump(tmp_path / "dump", count=24)


def shard_path(dump: Dump, index: int) -> Path:
    return dump.path / layout.DATA / dump.manifest.shards[index].name


def write_manifest(dump: Dump, **changes: Any) -> None:
    manifest = dump.manifest.model_copy(update=changes)
    manifest = manifest.model_copy(update={"plan": plan_identity(settings_of(manifest))})
    manifest = manifest.model_copy(update={"identity": manifest_identity(manifest)})
    (dump.path / layout.MANIFEST).write_bytes(json_bytes(manifest))


def rewrite_shard(dump: Dump, change: Any) -> None:
    """The first shard with other rows; its ledger line has the right hash, size and sums."""
    table = pq.read_table(shard_path(dump, 0))
    rows = table.to_pylist()
    change(rows)
    columns = shard_columns(dump.manifest.capture.temperatures)
    table = pa.Table.from_pylist(rows, schema=table.schema)
    footer = json.loads(pq.read_metadata(shard_path(dump, 0)).metadata[b"potstill"])
    with shard_path(dump, 0).open("wb") as sink:
        write_shard(sink, [table], columns, footer)
    data = shard_path(dump, 0).read_bytes()
    sums = ShardSums()
    sums.add(table)
    update = {"bytes": len(data), "sha256": sha(data), "statistics": sums.statistics()}
    shards = [dump.manifest.shards[0].model_copy(update=update), *dump.manifest.shards[1:]]
    alignment = merged_alignment([shard.statistics.alignment for shard in shards])
    write_manifest(dump, shards=shards, alignment=alignment)


def problems(dump: Dump) -> str:
    found = verify(str(dump.path))
    assert not found.ok
    assert all(f.where and f.cure for f in found.findings)
    return " | ".join(f"{f.where}: {f.problem}" for f in found.findings)


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


@pytest.fixture
def hidden(tmp_path: Path) -> Dump:
    return write_dump(tmp_path / "hidden", capture=with_widths(hidden_policy(), 6, 4))


def rewrite_hidden(dump: Dump, change: Any, group: int = 4) -> None:
    """The first shard's hidden states with other rows; its ledger line has the right hash."""
    path = dump.path / layout.HIDDEN / dump.manifest.shards[0].name
    schema = pq.read_table(path).schema
    rows = pq.read_table(path).to_pylist()
    change(rows)
    parts = [rows[start : start + group] for start in range(0, len(rows), group)]
    tables = [pa.Table.from_pylist(part, schema=schema) for part in parts]
    capture = dump.manifest.capture
    columns = hidden_columns(capture.hidden_layers, "int8", capture.stored_width)
    footer = json.loads(pq.read_metadata(path).metadata[b"potstill"])
    with path.open("wb") as sink:
        write_shard(sink, tables, columns, footer)
    data = path.read_bytes()
    update = {"hidden_bytes": len(data), "hidden_sha256": sha(data)}
    shards = [dump.manifest.shards[0].model_copy(update=update), *dump.manifest.shards[1:]]
    write_manifest(dump, shards=shards)


def test_hidden_states_are_verified_too(hidden: Dump) -> None:
    found = verify(str(hidden.path))
    assert found.ok and found.notes == ()
    files = [*(hidden.path / "data").iterdir(), *(hidden.path / "hidden").iterdir()]
    assert found.bytes == sum(file.stat().st_size for file in files)
    path = hidden.path / layout.HIDDEN / hidden.manifest.shards[1].name
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    assert "hidden/" in problems(hidden)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.reverse(), "ids or lengths of hidden_0 are not those of the tokens"),
        (
            lambda rows: [rows[0][name].pop() for name in ("hidden_2", "hidden_2_scales")],
            "ids or lengths of hidden_2 are not those of the tokens",
        ),
        (lambda rows: rows[0]["hidden_2_scales"].pop(), "disagree about how many tokens"),
        (lambda rows: rows[3].update(hidden_last_channels=[0.0] * 4), "a scale is"),
    ],
)
def test_hidden_states_that_are_wrong(hidden: Dump, change: Any, words: str) -> None:
    rewrite_hidden(hidden, change)
    found = problems(hidden)
    assert words in found
    assert found.startswith(f"hidden/{hidden.manifest.shards[0].name}: row group 0")


def test_hidden_states_in_other_row_groups(hidden: Dump) -> None:
    rewrite_hidden(hidden, lambda rows: None, group=8)
    assert "its row groups are not those" in problems(hidden)


def test_hidden_states_without_a_hash(hidden: Dump) -> None:
    first, *others = hidden.manifest.shards
    first = first.model_copy(update={"hidden_bytes": 0, "hidden_sha256": None})
    write_manifest(hidden, shards=[first, *others])
    assert "no hash of the shard's hidden states" in problems(hidden)


def test_the_projection_is_the_manifests(hidden: Dump) -> None:
    path = hidden.path / layout.PROJECTION
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"\1")
    assert "projection.npy was altered" in problems(hidden)
    path.unlink()
    assert "projection.npy is missing" in problems(hidden)


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
