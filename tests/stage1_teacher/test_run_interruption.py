"""Dumps that die, are stopped or are shared: nothing is lost, nothing doubled."""

import os
import signal
import time

import pytest

from schemas import layout
from schemas.errors import StoppedError
from schemas.verify import verify
from tests.stage1_teacher.prepared_dumps import Crash, TwinEngine, prepared_dump, rows_of


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
    assert time.monotonic() - began < 15
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
    assert time.monotonic() - began < 30
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
