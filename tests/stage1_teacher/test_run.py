"""A dump from prepared rows: whole, in order, the same however it is batched, in bounded memory."""

import gc
import tracemalloc
from dataclasses import replace

import datasets
import pyarrow as pa
import pytest

from schemas.manifest import Capture
from schemas.verify import verify
from stage1_teacher import preview_shard
from stage1_teacher.units import unit_ranges
from tests.dumps import hidden_policy, make_samples, make_settings
from tests.stage1_teacher.prepared_dumps import TwinEngine, prepared_dump, rows_of

CAPTURE = Capture(top_k=16)


def test_a_dump_is_whole_and_holds_every_sample_once(dump, tmp_path):
    reports = []
    prepared = prepared_dump(rows=41)
    summary = dump(prepared, reports=reports)
    assert (summary.rows, summary.units, summary.units_done) == (41, 6, 6)
    assert summary.truncated == 6
    assert not summary.finished_before
    assert verify(str(tmp_path / "out")).ok
    assert set(rows_of(tmp_path / "out")) == {sample.id for sample in prepared.rows()}
    assert summary.bytes == sum(f.stat().st_size for f in (tmp_path / "out/data").iterdir())
    assert summary.tokens == sum(len(sample.input_ids) for sample in prepared.rows())
    last = reports[-1]
    assert (last.done, last.total, last.unit) == (41, 41, "rows")
    assert last.figures["bytes/token"] == pytest.approx(summary.bytes_per_token)
    assert last.figures["tokens/s"] > 0
    assert [r.done for r in reports] == sorted(r.done for r in reports)


def test_rows_are_in_the_corpus_order_whatever_the_engine_does(dump, tmp_path):
    prepared = prepared_dump(rows=20, unit_size=20)
    dump(prepared)
    assert list(rows_of(tmp_path / "out")) == [sample.id for sample in prepared.rows()]


def test_batching_does_not_change_a_byte_of_a_row(dump, tmp_path):
    dump(prepared_dump(batch_tokens=64), tmp_path / "a")
    dump(prepared_dump(batch_tokens=100_000), tmp_path / "b")
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")


def test_run_again_says_that_it_is_finished_and_starts_nothing(dump, tmp_path):
    first = dump(prepared_dump())
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").rglob("*") if f.is_file()}
    engine = TwinEngine()
    second = dump(prepared_dump(engine=engine))
    assert second.finished_before
    assert (second.units_done, engine.started) == (0, 0)
    assert (second.identity, second.tokens) == (first.identity, first.tokens)
    assert before == {f: f.stat().st_mtime_ns for f in (tmp_path / "out").rglob("*") if f.is_file()}


def test_load_dataset_works_on_the_folder_from_its_card_alone(dump, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    prepared = prepared_dump(capture=hidden_policy("bf16", ["1"]))
    dump(prepared)
    cache = str(tmp_path / "cache")
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=cache)
    assert rows.num_rows == 40
    stored = rows_of(tmp_path / "out")
    assert all(row == stored[row["id"]] for row in rows)
    preview = datasets.load_dataset(
        str(tmp_path / "out"), "preview", split="train", cache_dir=cache
    )
    assert "top5" in preview[0]["tokens"][0]
    hidden = datasets.load_dataset(str(tmp_path / "out"), "hidden", split="train", cache_dir=cache)
    assert hidden.column_names == ["id", "hidden_1", "hidden_1_low"]


def test_no_file_of_a_dump_names_a_place_on_this_machine(dump, tmp_path):
    dump(prepared_dump())
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            assert str(tmp_path).encode() not in file.read_bytes(), file


def peak_memory(dump, rows, out):
    """Peak of Python's and Arrow's memory over a dump whose rows are made while they are read."""
    prepared = prepared_dump(rows=8)
    lazy = replace(
        prepared,
        settings=make_settings(CAPTURE, rows=rows),
        units=unit_ranges(rows, 8),
        rows=lambda: (s for n in range(rows // 8) for s in make_samples(8, seed=n)),
    )
    pool = pa.default_memory_pool()
    gc.collect()
    before = pool.bytes_allocated()
    tracemalloc.start()
    dump(lazy, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pool.bytes_allocated() - before < 1 << 20
    return peak


def test_memory_does_not_grow_with_the_corpus(dump, tmp_path, monkeypatch):
    """Least of two runs: pathlib interns names, and the table of these doubles now and then."""
    monkeypatch.setattr(preview_shard, "MOST_ROWS", 8)
    small, large = (
        min(peak_memory(dump, rows, tmp_path / f"{rows}-{again}") for again in range(2))
        for rows in (24, 160)
    )
    assert large < 1.5 * small, (small, large)
