"""`potstill inspect DUMP --watch`: a dump's progress, seen from outside until it is complete."""

import time
from collections.abc import Callable
from dataclasses import asdict

from pipeline.facts import facts, set_aside_text
from pipeline.output import Output
from schemas.progress import Progress
from stage1_teacher.watch import Condition, DumpState, Watcher

SECONDS_BETWEEN = 2.0
STALLED_SECONDS = 900.0

_SENTENCES: dict[Condition, str] = {
    "running": "",
    "idle": "no worker holds a unit: run the same `potstill dump` again to go on",
    "paused": "paused; `potstill resume` lets its workers go on",
    "stopped": "stopped: run the same `potstill dump` again to go on",
    "complete": "",
}


def watch(
    dump: str,
    output: Output,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Shows progress until the dump is complete or the user has seen enough.

    Raises:
        InputError: no dump was begun there.
        TemporaryError: the store failed.
    """
    watcher = Watcher(dump)
    output.stream()
    pace = _Pace(clock)
    state = watcher.look()
    try:
        while state.condition != "complete":
            output.report(pace.progress(state))
            sleep(SECONDS_BETWEEN)
            state = watcher.look()
        output.report(pace.progress(state))
    except KeyboardInterrupt:
        pass
    output.result({"dump": dump, **asdict(state)}, facts(_shown(dump, state)))


class _Pace:
    """What changed since the watch began, and what to say about it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: DumpState | None = None
        self._last: DumpState | None = None
        self._began = self._changed = clock()
        self._stalled = False

    def progress(self, state: DumpState) -> Progress:
        """The state as a message of a long step."""
        now = self._clock()
        self._first = self._first or state
        if self._last and state.units_done != self._last.units_done:
            self._changed, self._stalled = now, False
        message = self._message(state, now)
        self._last = state
        return Progress(
            stage="dump",
            done=state.rows_done,
            total=state.rows,
            unit="rows",
            figures=self._figures(self._first, state, now),
            message=message,
        )

    def _figures(self, first: DumpState, state: DumpState, now: float) -> dict[str, float]:
        figures: dict[str, float] = {"workers": state.workers}
        if state.tokens > first.tokens:
            figures["tokens/s"] = (state.tokens - first.tokens) / max(now - self._began, 1e-9)
        if state.tokens:
            figures["bytes/token"] = state.bytes / state.tokens
        if state.failed:
            figures["set aside"] = state.failed
        return figures

    def _message(self, state: DumpState, now: float) -> str:
        if self._last is None or state.condition != self._last.condition:
            resumed = self._last is not None and state.condition == "running"
            return "running again" if resumed else _SENTENCES[state.condition]
        still = state.condition == "running" and now - self._changed > STALLED_SECONDS
        if still and not self._stalled:
            self._stalled = True
            return f"no unit was finished for {STALLED_SECONDS / 60:.0f} min"
        return ""


def _shown(dump: str, state: DumpState) -> dict[str, str]:
    shown = {
        "dump": dump,
        "state": state.condition,
        "units": f"{state.units_done:,} of {state.units:,}",
        "rows": f"{state.rows_done:,} of {state.rows:,}",
        "tokens": f"{state.tokens:,}, {state.bytes:,} bytes",
    }
    if state.condition not in ("complete", "idle"):
        shown["workers"] = str(state.workers)
    if state.failed:
        shown["set aside"] = set_aside_text(state.failed)
    return shown
