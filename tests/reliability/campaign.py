"""What a campaign is: a lot of scenarios, each of which must end without a violation."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Tier = Literal["pr", "nightly", "release"]
TIERS: tuple[Tier, ...] = ("pr", "nightly", "release")

_SHOWN = 20


@dataclass(slots=True)
class Outcome:
    """Counts what was tried, by kind, and keeps what went wrong.

    Attributes:
        counts: scenarios by kind; together they are what the table calls scenarios.
        violations: one sentence each; there must be none.
        figures: other numbers that were measured.
    """

    counts: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def scenarios(self) -> int:
        """All of them."""
        return sum(self.counts.values())

    def count(self, kind: str, number: int = 1) -> None:
        """Adds scenarios of a kind."""
        self.counts[kind] = self.counts.get(kind, 0) + number

    def violate(self, where: str, problems: list[str]) -> None:
        """Keeps what went wrong in a scenario; nothing when nothing did."""
        self.violations += [f"{where}: {problem}" for problem in problems]

    def shown(self) -> str:
        """The first violations, for a test's message."""
        rest = len(self.violations) - _SHOWN
        return "\n".join([*self.violations[:_SHOWN], *([f"and {rest} more"] if rest > 0 else [])])


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A line of the table.

    Attributes:
        says: what is tried, in words.
        run: tries it.
        least: scenarios that each tier must reach at least.
    """

    says: str
    run: Callable[[Tier], Outcome]
    least: dict[Tier, int]


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder, in memory where there is such a place: there are very many fsyncs."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="potstill-reliability-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
