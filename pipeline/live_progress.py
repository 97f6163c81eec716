"""What a long step shows while it runs: a bar on a terminal, else one plain line a minute."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from schemas.progress import Progress

EVERY_SECONDS = 60.0


class View(Protocol):
    """Something that shows progress and can be put away."""

    def show(self, progress: Progress) -> None:
        """Shows one message of a long step."""
        ...

    def close(self) -> None:
        """Puts the view away, so that other text may follow."""
        ...


class BarView:
    """One line per stage: a bar, counts, remaining time and the live figures."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("[dim]{task.fields[figures]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def show(self, progress: Progress) -> None:
        """Moves the stage's bar, which appears with its first message."""
        self._bars.start()
        if progress.message:
            self._bars.console.print(progress.message, style="dim", markup=False)
        if not progress.unit:
            return
        if progress.stage not in self._tasks:
            self._tasks[progress.stage] = self._bars.add_task(
                progress.stage, unit="", figures="", completed=int(progress.done)
            )
        self._bars.update(
            self._tasks[progress.stage],
            total=progress.total,
            completed=progress.done,
            unit=progress.unit,
            figures=figures_text(progress.figures),
        )

    def close(self) -> None:
        """Leaves the bars as they are and gives the terminal back."""
        self._bars.stop()


class LineView:
    """Plain lines for logs: a stage's first message, then at most one a minute, and sentences."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic):
        self._write = write
        self._clock = clock
        self._started: dict[str, tuple[float, float]] = {}
        self._last: float | None = None
        self._stage = ""

    def show(self, progress: Progress) -> None:
        """Writes a line when one is due."""
        now = self._clock()
        if progress.message:
            self._write(progress.message)
        if not progress.unit:
            return
        started = self._started.setdefault(progress.stage, (now, progress.done))
        due = self._last is None or now - self._last >= EVERY_SECONDS
        finished = progress.total is not None and progress.done >= progress.total
        if due or progress.stage != self._stage or finished:
            self._write(line_of(progress, remaining(progress, started, now)))
            self._last, self._stage = now, progress.stage

    def close(self) -> None:
        """Nothing to put away."""


class NoView:
    """Shows nothing: --quiet."""

    def show(self, _: Progress) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing to put away."""


def remaining(progress: Progress, started: tuple[float, float], now: float) -> float | None:
    """Seconds left at the pace since the stage began, or None when it cannot be told."""
    began, before = started
    gained = progress.done - before
    if progress.total is None or gained <= 0 or now <= began:
        return None
    return (now - began) / gained * max(0.0, progress.total - progress.done)


def line_of(progress: Progress, seconds_left: float | None) -> str:
    """A message as one plain line."""
    counted = f"{progress.done:,.0f}"
    if progress.total:
        share = f" ({progress.done / progress.total:.0%})"
        counted += f" of {progress.total:,.0f} {progress.unit}{share}"
    else:
        counted += f" {progress.unit}"
    parts = [f"{progress.stage}: {counted}", figures_text(progress.figures)]
    if seconds_left:
        parts.append(f"{duration(seconds_left)} left")
    return ", ".join(part for part in parts if part)


def figures_text(figures: Mapping[str, float]) -> str:
    """Live figures as text: "1,234 tokens/s, loss 2.31, wait 0.1%"; the count says the step."""
    return ", ".join(_figure(name, value) for name, value in figures.items() if name != "step")


def _figure(name: str, value: float) -> str:
    if name.endswith("_share"):
        return f"{name.removesuffix('_share')} {value:.1%}"
    number = f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"
    return f"{number} {name}" if "/" in name else f"{name} {number}"


def duration(seconds: float) -> str:
    """A span of time for people: "40 s", "3 min", "2 h 10 min"."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
