"""Where a command's words go: results to stdout, everything else to stderr.

With --json stdout carries JSON and nothing else: one object, or, for the commands that take long,
lines with `event` launch, status, and done or error, the last of which is the summary.
"""

import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console, RenderableType
from rich.text import Text

from pipeline.live_progress import BarView, LineView, NoView, View
from pipeline.stdout_guard import stdout_for_results
from schemas.progress import Progress

_STATUS_SECONDS = 1.0

NO_HINTS = "_POTSTILL_NO_HINTS"
"""Set by the quickstart for its steps, whose hints would send the user off in the middle."""


class Output:
    """A context manager around one command.

    Attributes:
        json: whether stdout is for a program.
        quiet: whether only results and errors are wanted.
    """

    def __init__(self, *, command: str, json_wanted: bool, quiet: bool, long: bool) -> None:
        self.json = json_wanted
        self.quiet = quiet
        self._command = command
        self._long = long
        self._speaks = os.environ.get("RANK", "0") == "0"  # torchrun: the first process speaks
        self._guard = stdout_for_results()
        self._statuses = _Throttle()

    def __enter__(self) -> Self:
        self._results: TextIO = self._guard.__enter__()
        self._notes = Console(stderr=True, highlight=False)
        self._view = self._make_view()
        self._handler = _NoteHandler(self)
        logging.getLogger().addHandler(self._handler)
        for package in ("stage1_teacher", "stage2_student", "schemas", "pipeline"):
            logging.getLogger(package).setLevel(logging.INFO)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._view.close()
        logging.getLogger().removeHandler(self._handler)
        self._guard.__exit__(kind, error, trace)

    def launch(self, settings: Mapping[str, Any]) -> None:
        """Says, to programs, what begins."""
        if self._long:
            self._line({"event": "launch", "command": self._command, "settings": settings})

    def stream(self) -> None:
        """From now on --json means lines, as of a command that takes long."""
        self._long = True

    def report(self, progress: Progress) -> None:
        """The `Report` that stages are given."""
        self._view.show(progress)
        if self._long and self.json and self._statuses.due(progress):
            self._line(status_line(progress))

    def note(self, text: str) -> None:
        """A line for people on stderr; not with --quiet."""
        if not self.quiet and self._speaks:
            self._notes.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """A line on stderr that is shown in any case."""
        self._notes.print(text, markup=False, soft_wrap=True, style="yellow")

    def result(self, data: Mapping[str, Any], *shown: RenderableType) -> None:
        """The command's result: `data` for a program, `shown` for people."""
        self._view.close()
        if not self._speaks:
            return
        if self.json:
            self._line({"event": "done", "command": self._command, **data} if self._long else data)
            return
        console = result_console(self._results)
        for renderable in shown:
            console.print(renderable, soft_wrap=isinstance(renderable, Text))  # to be copied

    def next(self, commands: Mapping[str, str]) -> None:
        """What to type next: each command under what it does; for people only."""
        if self.quiet or self.json or not self._speaks or os.environ.get(NO_HINTS):
            return
        self._notes.print("\nNext:", style="bold")
        for what, command in commands.items():
            self._notes.print(f"  # {what}", style="dim", markup=False, soft_wrap=True)
            self._notes.print(f"  {command}", markup=False, soft_wrap=True)

    def text(self, text: str) -> None:
        """Text on stdout as it is: a file's content, a schema."""
        self._results.write(text if text.endswith("\n") else text + "\n")
        self._results.flush()

    def _line(self, data: Mapping[str, Any]) -> None:
        if self.json and self._speaks:
            write_json(data, self._results)

    def _make_view(self) -> View:
        if self.quiet or not self._speaks:
            return NoView()
        return BarView(self._notes) if self._notes.is_terminal else LineView(self.note)


def result_console(stream: TextIO) -> Console:
    """A console for results; one that is no terminal gets lines that need no wrapping."""
    console = Console(file=stream, highlight=False)
    return console if console.is_terminal else Console(file=stream, highlight=False, width=120)


def write_json(data: Mapping[str, Any], stream: TextIO) -> None:
    """One object on one line, at once; a number that JSON does not have becomes null."""
    stream.write(json.dumps(finite(data), ensure_ascii=False, allow_nan=False) + "\n")
    stream.flush()


def finite(value: Any) -> Any:
    """The same with NaN and infinities replaced by None, mappings and sequences made plain."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [finite(item) for item in value]
    return value if isinstance(value, int | str | None) else str(value)


def status_line(progress: Progress) -> dict[str, Any]:
    """A status event; live figures, such as step and loss, stand beside the counts."""
    line: dict[str, Any] = {**progress.figures, "event": "status", "stage": progress.stage}
    if progress.unit:
        line |= {"done": progress.done, "total": progress.total, "unit": progress.unit}
    if progress.message:
        line["message"] = progress.message
    return line


class _Throttle:
    """Lets at most one status a second through, but every one that says or measures something."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def due(self, progress: Progress) -> bool:
        now = time.monotonic()
        finished = progress.total is not None and progress.done >= progress.total
        matters = bool(progress.message) or "loss" in progress.figures or finished
        if matters or now - self._last.get(progress.stage, -math.inf) >= _STATUS_SECONDS:
            self._last[progress.stage] = now
            return True
        return False


class _NoteHandler(logging.Handler):
    """Our packages' log lines as notes, others' from warnings on."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        show = self._output.warn if record.levelno >= logging.WARNING else self._output.note
        show(record.getMessage())
