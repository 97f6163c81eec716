"""A dump under way, seen from outside."""

from pathlib import Path

import pytest

from pipeline.watching import STALLED_SECONDS, watch
from schemas import layout
from schemas.errors import InputError
from stage1_teacher import control, run
from stage1_teacher.control import ask
from stage1_teacher.settings import DumpSettings
from stage1_teacher.watch import Watcher
from tests.pipeline.command_line import potstill
from tests.stage1_teacher.prepared_dumps import TwinEngine, prepared_dump


class Screen:
    """An Output that remembers."""

    def __init__(self) -> None:
        self.reports, self.results, self.streams = [], [], False

    def stream(self) -> None:
        self.streams = True

    def report(self, progress) -> None:
        self.reports.append(progress)

    def result(self, data, *shown) -> None:
        self.results.append(data)


@pytest.fixture
def dump(monkeypatch, tmp_path):
    def start(engine, name="out"):
        monkeypatch.setattr(control, "LOOK_SECONDS", 0.0)
        monkeypatch.setattr(run, "prepare", lambda settings, report: prepared_dump(engine=engine))
        return run.dump(DumpSettings(teacher="t", corpus="c", out=str(tmp_path / name)))

    return start


def test_states_on_the_way_to_completion(dump, tmp_path) -> None:
    out, states = str(tmp_path / "out"), {}

    def look(seen: int) -> None:
        if seen in (0, 8, 20):
            states[seen] = Watcher(out).look()

    summary = dump(TwinEngine(before=look))
    assert [states[n].units_done for n in (0, 8, 20)] == [0, 1, 2]
    assert [states[n].rows_done for n in (0, 8, 20)] == [0, 8, 16]
    assert {state.condition for state in states.values()} == {"running"}
    assert {state.workers for state in states.values()} == {1}
    last = Watcher(out).look()
    assert (last.condition, last.units_done, last.units, last.workers) == ("complete", 5, 5, 0)
    assert (last.rows_done, last.tokens, last.bytes) == (40, summary.tokens, summary.bytes)


def test_pauses_stops_and_silence_are_told(dump, tmp_path) -> None:
    out = str(tmp_path / "out")

    def die(seen: int) -> None:
        if seen == 11:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        dump(TwinEngine(before=die))
    assert Watcher(out).look().condition == "idle"
    ask(out, "pause")
    assert Watcher(out).look().condition == "paused"
    ask(out, "stop")
    assert Watcher(out).look().condition == "stopped"


def test_the_view_follows_until_the_dump_is_complete(dump, tmp_path) -> None:
    out, screen, now = str(tmp_path / "out"), Screen(), [0.0]

    def die(seen: int) -> None:
        if seen == 11:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        dump(TwinEngine(before=die))
    steps = iter(
        [
            lambda: ask(out, "pause"),
            lambda: control.withdraw(out),
            lambda: dump(TwinEngine()),
        ]
    )

    def sleep(_: float) -> None:
        now[0] += 2
        next(steps)()

    watch(out, screen, clock=lambda: now[0], sleep=sleep)
    assert screen.streams
    assert [p.done for p in screen.reports] == [8, 8, 8, 40]
    idle = "no worker holds a unit: run the same `potstill dump` again to go on"
    paused = "paused; `potstill resume` lets its workers go on"
    assert [p.message for p in screen.reports] == [idle, paused, idle, ""]
    assert screen.reports[-1].figures["tokens/s"] > 0
    (result,) = screen.results
    assert (result["condition"], result["units_done"]) == ("complete", 5)


def test_a_worker_without_results_is_told_once(dump, tmp_path) -> None:
    out, screen, now = str(tmp_path / "out"), Screen(), [0.0]

    def sleep(_: float) -> None:
        now[0] += STALLED_SECONDS * 0.6
        if len(screen.reports) == 6:
            raise KeyboardInterrupt

    def watch_meanwhile(seen: int) -> None:
        if seen == 3:
            watch(out, screen, clock=lambda: now[0], sleep=sleep)

    dump(TwinEngine(before=watch_meanwhile))
    told = [p.message for p in screen.reports if p.message]
    assert told == ["no unit was finished for 15 min"]
    assert screen.results[0]["condition"] == "running", "Ctrl-C ends the watch, not the dump"


def test_the_command_streams_json_lines_and_ends_with_a_complete_dump(dump, tmp_path) -> None:
    dump(TwinEngine())
    ran = potstill("inspect", tmp_path / "out", "--watch", "--json")
    assert ran.code == 0, ran.err
    assert [line["event"] for line in ran.lines] == ["status", "done"]
    assert ran.lines[-1]["condition"] == "complete"
    people = potstill("inspect", tmp_path / "out", "--watch")
    assert "5 of 5" in people.out


def test_what_was_not_begun_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=layout.PLAN):
        Watcher(str(tmp_path))


def test_the_three_words_as_commands(dump, tmp_path) -> None:
    ran = potstill("pause", tmp_path / "nowhere")
    assert ran.code == 2 and "no dump under way" in ran.err

    def words(seen: int) -> None:
        if seen == 3:
            for word in ("pause", "resume", "resume", "stop", "resume"):
                told.append(potstill(word, tmp_path / "out", "--json").lines[0]["state"])

    told: list[str] = []
    dump(TwinEngine(before=words))
    assert told == ["paused", "resumed", "running", "stopped", "resumed"]
    assert potstill("stop", tmp_path / "out").code == 2
