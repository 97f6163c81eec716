"""Pause, resume and stop, asked through the dump's own folder."""

import threading
import time

import pytest

from schemas import layout
from schemas.errors import DamagedError, InputError, StoppedError
from schemas.storage_posix import PosixStore
from stage1_teacher import control, run
from stage1_teacher.control import Control, ask, request_at, withdraw
from stage1_teacher.interruption import Interruption
from stage1_teacher.settings import DumpSettings
from tests.stage1_teacher.prepared_dumps import TwinEngine, prepared_dump


@pytest.fixture
def dump(monkeypatch, tmp_path):
    """Runs a dump that looks for requests at every sample."""

    def start(engine, reports=None):
        monkeypatch.setattr(control, "LOOK_SECONDS", 0.0)
        monkeypatch.setattr(control, "_WAIT_SECONDS", 0.01)
        prepared = prepared_dump(engine=engine)
        monkeypatch.setattr(run, "prepare", lambda settings, report: prepared)
        settings = DumpSettings(teacher="t", corpus="c", out=str(tmp_path / "out"))
        return run.dump(settings, reports.append if reports is not None else lambda _: None)

    return start


def test_stop_ends_the_workers_that_run_and_not_those_that_come(dump, tmp_path):
    out = str(tmp_path / "out")
    engine = TwinEngine(before=lambda seen: ask(out, "stop") if seen == 11 else None)
    with pytest.raises(StoppedError, match="potstill stop") as caught:
        dump(engine)
    assert caught.value.exit_code == 130
    assert len(engine.seen) == 12
    assert dump(TwinEngine()).units_done == 4, "the old request stopped a new worker"


def test_pause_waits_and_resume_goes_on(dump, tmp_path):
    out, reports, seen_while_paused = str(tmp_path / "out"), [], []

    def resume_later():
        time.sleep(0.3)
        seen_while_paused.append(len(engine.seen))
        withdraw(out)

    def before(seen):
        if seen == 11:
            ask(out, "pause")
            threading.Thread(target=resume_later).start()

    engine = TwinEngine(before=before)
    summary = dump(engine, reports)
    assert seen_while_paused == [12], "it went on while it was paused"
    assert (summary.units, summary.units_done) == (5, 5)
    messages = [progress.message for progress in reports if progress.message]
    assert [m for m in messages if "resume" in m] == [
        "paused by `potstill pause`; `potstill resume` lets it go on",
        "resumed",
    ]


def test_a_worker_that_comes_to_a_paused_dump_loads_no_teacher(dump, tmp_path):
    out = str(tmp_path / "out")
    stopped = TwinEngine(before=lambda seen: ask(out, "stop") if seen == 11 else None)
    with pytest.raises(StoppedError):
        dump(stopped)
    ask(out, "pause")
    engine = TwinEngine()
    started = []

    def look_then_resume():
        time.sleep(0.2)
        started.append(engine.started)
        withdraw(out)

    threading.Thread(target=look_then_resume).start()
    dump(engine)
    assert started == [0]


def test_a_signal_ends_a_pause(tmp_path):
    store = PosixStore(tmp_path)
    asked = Interruption()
    (tmp_path / layout.WORK).mkdir()
    store.replace(layout.CONTROL, b'{"verb": "pause", "id": "0123456789abcdef"}')

    def sleep(_: float) -> None:
        asked.asked = True

    with pytest.raises(KeyboardInterrupt):
        Control(store, asked, lambda _: None, sleep=sleep).look()


def test_requests_are_read_seldom(tmp_path):
    reads = []

    class Counting(PosixStore):
        def read(self, name):
            reads.append(name)
            return super().read(name)

    now = [0.0]
    watched = Control(Counting(tmp_path), Interruption(), lambda _: None, clock=lambda: now[0])
    for _ in range(22):
        now[0] += 0.5
        watched.check()
    assert len(reads) == 1 + 3, "at the beginning, at the first check, after 5 s and after 10 s"


def test_an_unreachable_store_stops_nobody(tmp_path):
    class Flaky(PosixStore):
        broken = False

        def read(self, name):
            if self.broken:
                raise ConnectionError("gone")
            return super().read(name)

    store = Flaky(tmp_path)
    watched = Control(store, Interruption(), lambda _: None)
    store.broken = True
    watched.look()


def test_requests_go_to_dumps_under_way_only(dump, tmp_path):
    with pytest.raises(InputError, match="no dump under way"):
        ask(str(tmp_path / "nowhere"), "pause")
    assert not (tmp_path / "nowhere").exists()
    dump(TwinEngine())
    with pytest.raises(InputError, match="complete"):
        ask(str(tmp_path / "out"), "stop")


def test_a_strange_request_is_refused(tmp_path):
    store = PosixStore(tmp_path)
    store.replace(layout.CONTROL, b'{"verb": "explode", "id": "0123456789abcdef"}')
    with pytest.raises(DamagedError, match="verb"):
        request_at(store)
