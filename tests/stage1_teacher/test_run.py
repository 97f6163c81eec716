import errno
import gc
import os
import signal
import time
import tracemalloc
from dataclasses import replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import potstill
from schemas import layout
from schemas.errors import ConflictError, DamagedError, FormatError, InputError, StoppedError
from schemas.manifest import Capture
from schemas.verify import verify
from stage1_teacher import preview_shard, run
from stage1_teacher.hidden_policy import with_widths
from stage1_teacher.settings import DumpSettings
from stage1_teacher.units import unit_ranges
from tests.dumps import hidden_policy, make_samples, make_settings, make_states
from tests.stage1_teacher.prepared_dumps import TwinEngine, prepared_dump

CAPTURE = Capture(top_k=16)


@pytest.fixture
def dump(monkeypatch, tmp_path):
    """Runs a prepared dump into tmp_path/out."""

    def start(prepared, out=tmp_path / "out", reports=None, **settings):
        monkeypatch.setattr(run, "prepare", lambda settings, report: prepared)
        settings = DumpSettings(teacher="t", corpus="c", out=str(out), **settings)
        return run.dump(settings, reports.append if reports is not None else lambda _: None)

    return start


def rows_of(path):
    """Every row of a dump, by id."""
    tables = [pq.read_table(file).to_pylist() for file in sorted((path / "data").iterdir())]
    rows = [row for table in tables for row in table]
    assert len({row["id"] for row in rows}) == len(rows), "a sample is doubled"
    return {row["id"]: row for row in rows}


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


class Crash(Exception):
    """The engine dies."""


@pytest.mark.parametrize("after", [0, 5, 8, 39])
def test_an_engine_that_dies_loses_nothing_and_doubles_nothing(dump, tmp_path, after):
    def die(seen):
        if seen == after:
            raise Crash

    with pytest.raises(Crash):
        dump(prepared_dump(engine=TwinEngine(before=die)))
    assert not (tmp_path / "out" / layout.MANIFEST).exists()
    shards = list((tmp_path / "out/data").iterdir()) if (tmp_path / "out/data").exists() else []
    assert len(shards) == after // 8, "an attempt that failed left its shard"

    engine = TwinEngine()
    summary = dump(prepared_dump(engine=engine))
    assert summary.units_done == 5 - after // 8
    assert len(engine.seen) == 40 - after // 8 * 8, "committed units are computed again"
    dump(prepared_dump(), tmp_path / "undisturbed")
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "undisturbed")
    assert verify(str(tmp_path / "out")).ok


def test_ctrl_c_ends_between_batches_and_says_how_to_go_on(dump, tmp_path):
    send = TwinEngine(before=lambda seen: os.kill(os.getpid(), signal.SIGINT) if seen == 11 else 0)
    with pytest.raises(StoppedError, match="run the same command again") as caught:
        dump(prepared_dump(engine=send))
    assert caught.value.exit_code == 130
    assert len(send.seen) == 12, "the sample at hand is finished, the next is not begun"
    assert len(list((tmp_path / "out/data").iterdir())) == 1
    assert dump(prepared_dump()).units_done == 4


@pytest.mark.parametrize(("grace", "seen"), [(20, 16), (0, 12), (0.3, 12)])
def test_sigterm_finishes_the_unit_or_drops_it_within_the_grace_period(dump, tmp_path, grace, seen):
    """Of eight samples a unit: with a pace of 0.2 s, 0.3 s are too short for the last four."""

    def before(number):
        if number == 11:
            os.kill(os.getpid(), signal.SIGTERM)
        if grace == 0.3 and number >= 8:
            time.sleep(0.2)

    engine = TwinEngine(before=before)
    began = time.monotonic()
    with pytest.raises(StoppedError):
        dump(prepared_dump(engine=engine), grace=grace)
    assert len(engine.seen) == seen
    assert time.monotonic() - began < 5
    assert len(list((tmp_path / "out/data").iterdir())) == seen // 8
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0, "the alarm would go off later"
    dump(prepared_dump())
    dump(prepared_dump(), tmp_path / "undisturbed")
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "undisturbed")


def test_a_sample_that_outlasts_the_grace_period_is_interrupted(dump, tmp_path):
    def hang(seen):
        if seen == 11:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    began = time.monotonic()
    with pytest.raises(StoppedError):
        dump(prepared_dump(engine=TwinEngine(before=hang)), grace=0.3)
    assert time.monotonic() - began < 10
    assert dump(prepared_dump()).units_done == 4


def test_killed_outright_and_continued(dump, tmp_path):
    child = os.fork()
    if child == 0:
        die = TwinEngine(before=lambda seen: seen == 21 and os.kill(os.getpid(), signal.SIGKILL))
        dump(prepared_dump(engine=die))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert dump(prepared_dump()).units_done == 3
    dump(prepared_dump(), tmp_path / "undisturbed")
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "undisturbed")
    assert verify(str(tmp_path / "out")).ok


def test_changed_settings_are_refused_field_by_field(dump):
    dump(prepared_dump())
    changed = make_settings(Capture(top_k=32, tail_samples=8), rows=40)
    with pytest.raises(ConflictError) as caught:
        dump(prepared_dump(settings=changed))
    text = str(caught.value)
    for field, old, new in (("top_k", "64", "32"), ("tail_samples", "64", "8")):
        line = next(line for line in text.splitlines() if field in line)
        assert old in line and new in line
    assert "temperatures" not in text


def test_a_path_that_holds_something_else_is_refused_and_left_alone(dump, tmp_path):
    other = tmp_path / "out"
    other.mkdir()
    (other / "thesis.tex").write_text("important")
    with pytest.raises(FormatError, match=str(other)):
        dump(prepared_dump())
    assert [f.name for f in other.iterdir()] == ["thesis.tex"]
    file = tmp_path / "file"
    file.write_text("important")
    with pytest.raises(InputError):
        dump(prepared_dump(), file)
    assert file.read_text() == "important"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_store_that_refuses_is_a_clear_error_and_nothing_is_half_written(
    dump, tmp_path, monkeypatch, code
):
    real = os.write

    def write(descriptor, data):
        if len(data) > 4000:  # a shard, not plan.json
            raise OSError(code, os.strerror(code))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(InputError) as caught:
        dump(prepared_dump())
    assert f"{os.strerror(code)}. " in str(caught.value)
    monkeypatch.undo()
    assert not list((tmp_path / "out/data").iterdir())
    assert not (tmp_path / "out" / layout.MANIFEST).exists()


def shifted(signals):
    """Every position's entries moved to the next position."""
    topk = signals.topk
    counts = np.roll(np.diff(topk.offsets), 1)
    last = topk.offsets[-2]
    order = np.r_[last : len(topk.ids), 0:last]
    topk.offsets[1:] = np.cumsum(counts)
    topk.ids[:], topk.logits[:] = topk.ids[order], topk.logits[order]
    return signals


def test_signals_that_slipped_are_refused(dump, tmp_path):
    engine = TwinEngine(change=shifted)
    with pytest.raises(DamagedError, match="alignment"):
        dump(prepared_dump(engine=engine))
    assert not list((tmp_path / "out/data").iterdir())


def test_an_engine_that_forgets_a_sample_is_refused(dump):
    class Forgetful(TwinEngine):
        def capture(self, samples, capture, seed):
            yield from list(super().capture(samples, capture, seed))[1:]

    with pytest.raises(DamagedError, match=r"left sample .* incomplete"):
        dump(prepared_dump(engine=Forgetful()))


def test_hidden_states_stand_beside_the_signals(dump, tmp_path):
    capture = hidden_policy("bf16")
    prepared = prepared_dump(capture=capture)
    dump(prepared)
    assert verify(str(tmp_path / "out")).ok
    samples = {sample.id: sample for sample in prepared.rows()}
    rows = list(potstill.open_dump(tmp_path / "out").rows(hidden=[0, "last"]))
    assert len(rows) == 40
    for row in rows:
        expected = make_states(samples[row.id], capture)
        np.testing.assert_array_equal(row.hidden[0], expected["0"])
        np.testing.assert_array_equal(row.hidden["last"], expected["last"])


def test_a_projection_is_stored_once_and_is_that_of_the_plan(dump, tmp_path):
    capture = with_widths(hidden_policy("int8"), 6, 4)
    prepared = prepared_dump(capture=capture)
    dump(prepared)
    assert verify(str(tmp_path / "out")).ok
    opened = potstill.open_dump(tmp_path / "out")
    samples = {sample.id: sample for sample in prepared.rows()}
    for row in opened.rows(hidden=["last"]):
        expected = make_states(samples[row.id], capture)["last"] @ opened.projection()
        assert row.hidden["last"].shape == expected.shape
        lost = np.linalg.norm(row.hidden["last"] - expected, axis=1)
        assert (lost <= 0.1 * np.linalg.norm(expected, axis=1)).all()


def test_hidden_states_do_not_depend_on_batching_nor_on_what_happened_before(dump, tmp_path):
    def die(seen):
        if seen == 21:
            raise Crash

    capture = hidden_policy("int8")
    with pytest.raises(Crash):
        dump(prepared_dump(capture=capture, engine=TwinEngine(before=die)))
    summary = dump(prepared_dump(capture=capture, batch_tokens=100_000))
    assert summary.units_done == 3 and summary.hidden_bytes_per_token > 0
    dump(prepared_dump(capture=capture), tmp_path / "undisturbed")
    found, expected = (
        pa.concat_tables(pq.read_table(f) for f in sorted((tmp_path / name / "hidden").iterdir()))
        for name in ("out", "undisturbed")
    )
    assert found.equals(expected) and found.num_rows == 40


def test_states_that_an_engine_forgets_are_noticed(dump):
    def forget(signals):
        return replace(signals, hidden={"0": signals.hidden["0"]})

    with pytest.raises(DamagedError, match=r"left the hidden states of .* layer 2"):
        dump(prepared_dump(capture=hidden_policy(), engine=TwinEngine(change=forget)))


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


def test_workers_that_run_the_same_command_share_the_dump(dump, tmp_path):
    child = os.fork()
    if child == 0:
        slow = TwinEngine(before=lambda seen: time.sleep(0.02))
        os._exit(0 if dump(prepared_dump(engine=slow)).units_done else 1)
    mine = dump(prepared_dump(engine=TwinEngine(before=lambda seen: time.sleep(0.02))))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the other worker did nothing"
    assert 0 < mine.units_done < 5
    assert (mine.rows, mine.units) == (40, 5)
    assert verify(str(tmp_path / "out")).ok
    dump(prepared_dump(), tmp_path / "undisturbed")
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "undisturbed")
