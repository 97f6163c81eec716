"""Nights: what is new by content, failures that the next night mends, crashes, retention."""

import json

import numpy as np
import pytest

from pipeline import nightly
from pipeline.nightly_folder import NightlyFolder
from schemas.dump_folder import open_dump, open_dumps
from schemas.errors import ConflictError, FormatError, TemporaryError
from schemas.verify import verify
from stage1_teacher import run
from stage1_teacher.row_digests import SeenRows, as_digests
from stage1_teacher.unit_worker import UnitWorker
from tests.pipeline.nights import status, text, texts_of, wanted
from tests.tiny import write_rows


def test_three_nights_with_a_failure_in_the_second(night, tmp_path, monkeypatch):
    """Every row is dumped once, whatever the files are called, and the failure costs no row."""
    corpus, dumps = tmp_path / "corpus", tmp_path / "dumps"
    write_rows(corpus / "monday.jsonl", [text(n) for n in range(10)])
    first = night()
    assert (first.state, first.exit_code, first.new_rows, first.known_rows) == ("done", 0, 10, 0)
    assert texts_of(dumps / "2026-11-01") == wanted(range(10))

    (corpus / "monday.jsonl").rename(corpus / "renamed.jsonl")
    write_rows(corpus / "tuesday.jsonl", [text(3), *(text(n) for n in range(10, 22)), text(10)])
    failing = UnitWorker.compute

    def fail(self, unit):
        if unit == 2:
            raise TemporaryError("the store is gone")
        failing(self, unit)

    monkeypatch.setattr(UnitWorker, "compute", fail)
    with pytest.raises(TemporaryError):
        night()
    told = status(tmp_path)
    assert (told["state"], told["exit_code"], told["message"]) == ("failed", 5, "the store is gone")
    assert not (dumps / "2026-11-02").exists(), "only complete dumps stand beside each other"
    assert len(open_dumps([str(dumps / "*")])) == 1
    assert (dumps / ".nightly/2026-11-02/dump/.potstill/plan.json").exists()
    monkeypatch.setattr(UnitWorker, "compute", failing)

    write_rows(corpus / "wednesday.jsonl", [text(n) for n in range(22, 25)])
    (corpus / "renamed.jsonl").unlink()
    third = night()
    assert third.state == "done"
    assert [d["name"] for d in third.dumps] == ["2026-11-02", "2026-11-03"]
    assert [d["resumed"] for d in third.dumps] == [True, False]
    assert texts_of(dumps / "2026-11-02") == wanted(range(10, 22))
    assert texts_of(dumps / "2026-11-03") == wanted(range(22, 25))
    assert [d["path"] for d in third.dumps] == [str(dumps / f"2026-11-0{n}") for n in (2, 3)]
    assert all(verify(str(dumps / f"2026-11-0{n}")).ok for n in (1, 2, 3))
    assert open_dump(dumps / "2026-11-03").manifest.corpus.name == "corpus"
    lines = (dumps / ".nightly/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["exit_code"] for line in lines] == [0, 5, 0]


def test_a_night_without_news_makes_nothing(night, tmp_path):
    write_rows(tmp_path / "corpus/a.jsonl", [text(1), text(2)])
    night()
    before = sorted(p.name for p in (tmp_path / "dumps").iterdir())
    again = night()
    assert (again.state, again.exit_code, again.known_rows) == ("nothing new", 0, 2)
    assert "all 2 rows were dumped before" in again.message
    assert sorted(p.name for p in (tmp_path / "dumps").iterdir()) == before


def test_rows_of_a_dump_that_was_moved_away_are_not_dumped_again(night, tmp_path):
    write_rows(tmp_path / "corpus/a.jsonl", [text(1), text(2)])
    night()
    (tmp_path / "dumps/2026-11-01").rename(tmp_path / "archive")
    write_rows(tmp_path / "corpus/b.jsonl", [text(3)])
    assert night().new_rows == 1
    assert texts_of(tmp_path / "dumps/2026-11-02") == wanted([3])


def test_a_limit_spreads_a_corpus_over_nights(night, tmp_path):
    write_rows(tmp_path / "corpus/a.jsonl", [text(n) for n in range(7)])
    for day, rows in ((1, range(3)), (2, range(3, 6)), (3, range(6, 7))):
        assert night(limit=3).new_rows == len(rows)
        assert texts_of(tmp_path / f"dumps/2026-11-0{day}") == wanted(rows)
    assert night(limit=3).state == "nothing new"


def test_failed_rows_are_set_aside_once_and_say_so(night, tmp_path):
    (tmp_path / "corpus/a.jsonl").write_text(
        f'{json.dumps(text(1))}\n{{"text": oops}}\n{json.dumps(text(2))}\n'
    )
    found = night(max_failed="1")
    assert (found.state, found.exit_code) == ("set aside", 4)
    assert texts_of(tmp_path / "dumps/2026-11-01") == wanted([1, 2])
    reasons = (tmp_path / "dumps/2026-11-01/.potstill/set_aside.jsonl").read_text()
    assert "not JSON" in reasons and "/" not in json.loads(reasons)["reason"].partition("line")[0]
    assert night(max_failed="1").state == "nothing new", "a broken row is known by its content"


def test_work_files_are_kept_for_some_nights(night, tmp_path):
    for day in range(4):
        write_rows(tmp_path / f"corpus/{day}.jsonl", [text(day)])
        night(keep_work=2)
    left = sorted(p.parent.name for p in (tmp_path / "dumps/.nightly").glob("*/*.jsonl.zst"))
    assert left == ["2026-11-03", "2026-11-04"]
    assert night(keep_work=0).state == "nothing new"
    assert not list((tmp_path / "dumps/.nightly").glob("*/*.jsonl.zst"))


def test_another_policy_is_refused_before_anything_is_written(night, tmp_path):
    write_rows(tmp_path / "corpus/a.jsonl", [text(1)])
    night()
    write_rows(tmp_path / "corpus/b.jsonl", [text(2)])
    with pytest.raises(ConflictError, match=r"capture.top_k: 8 here, 64 there"):
        night(top_k=8, min_prob=0.01)
    assert status(tmp_path)["exit_code"] == 3
    assert not (tmp_path / "dumps/2026-11-02").exists()
    assert night().dumps[0]["rows"] == 1, "the next night with the old policy goes on"


def test_a_crash_while_new_rows_are_written_leaves_no_night(night, tmp_path, monkeypatch):
    write_rows(tmp_path / "corpus/a.jsonl", [text(1)])
    monkeypatch.setattr(nightly, "write_new_rows", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        night()
    assert (status(tmp_path)["state"], status(tmp_path)["exit_code"]) == ("failed", 70)
    monkeypatch.undo()
    (tmp_path / "dumps/.nightly/.begun-1").mkdir()  # of a process that was killed
    assert night().new_rows == 1
    assert not list((tmp_path / "dumps/.nightly").glob(".begun*"))


def test_a_night_whose_rows_were_removed_says_what_to_do(night, tmp_path, monkeypatch):
    write_rows(tmp_path / "corpus/a.jsonl", [text(1)])
    monkeypatch.setattr(run, "_finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        night()
    monkeypatch.undo()
    next((tmp_path / "dumps/.nightly/2026-11-01").glob("*.zst")).unlink()
    with pytest.raises(FormatError, match="Remove that folder"):
        night()


def test_a_crash_before_or_after_the_move_is_mended(night, tmp_path, monkeypatch):
    dumps = tmp_path / "dumps"
    write_rows(tmp_path / "corpus/a.jsonl", [text(1)])
    moved = NightlyFolder.show
    monkeypatch.setattr(NightlyFolder, "show", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        night()
    assert (dumps / ".nightly/2026-11-01/dump/manifest.json").exists()

    def move_and_crash(folder, of_night):
        moved(folder, of_night)
        raise ZeroDivisionError

    monkeypatch.setattr(NightlyFolder, "show", move_and_crash)
    with pytest.raises(ZeroDivisionError):
        night()
    monkeypatch.undo()
    assert [d["resumed"] for d in night().dumps] == [True]
    assert texts_of(dumps / "2026-11-01") == wanted([1])


def test_seen_rows_are_a_set():
    rng = np.random.default_rng(0)
    seen, twin = SeenRows(), set()
    for _ in range(50):
        hashes = [bytes([int(n) // 7, 0]) + bytes(30) for n in rng.integers(0, 400, 37)]
        new = seen.add_new(as_digests(hashes))
        for each, is_new in zip(hashes, new, strict=True):
            assert is_new == (each not in twin)
            twin.add(each)
    assert len(seen) == len(twin)
    assert len(seen._runs) <= 7
