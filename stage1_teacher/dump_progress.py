"""What a running dump tells: rows done, tokens per second, bytes per token."""

import time
from dataclasses import dataclass, field

from schemas.progress import Progress, Report

_SECONDS_BETWEEN = 0.2
_CAUTION = 1.2


@dataclass(slots=True, kw_only=True)
class Meter:
    """Counts one worker's run over the units; rows done by others count as done, not as speed.

    Attributes:
        report: where progress goes.
        total: rows of the corpus.
        done: rows of committed units.
        tokens: tokens that the teacher has seen in this run.
        bytes: size of the shards of this run.
        shard_tokens: tokens in those shards.
    """

    report: Report
    total: int
    done: int = 0
    tokens: int = 0
    bytes: int = 0
    shard_tokens: int = 0
    _unit_rows: int = 0
    _unit_tokens: int = 0
    _unit_seen: int = 0
    _unit_began: float = 0.0
    _started: float = field(default_factory=time.monotonic)
    _told: float = 0.0

    def start(self, done: int) -> None:
        """The teacher is loaded and `done` rows are committed: speed is measured from now on."""
        self._started = time.monotonic()
        self.done = done
        self._tell()

    def begin(self, rows: int, tokens: int) -> None:
        """A unit of so many rows and tokens begins."""
        self._unit_rows, self._unit_tokens, self._unit_seen = rows, max(1, tokens), 0
        self._unit_began = time.monotonic()

    def tick(self, tokens: int) -> None:
        """The teacher has seen one more sample."""
        self.tokens += tokens
        self._unit_seen += tokens
        if time.monotonic() - self._told > _SECONDS_BETWEEN:
            self._tell()

    def commit(self, done: int, size: int, tokens: int) -> None:
        """A unit is committed: `done` rows of the corpus are now; its shard's size and tokens."""
        self.done = done
        self.bytes += size
        self.shard_tokens += tokens
        self._unit_rows = 0
        self._tell()

    def idle(self, seconds: float) -> None:
        """The dump was paused for so long, which is no time of work."""
        self._started += seconds
        self._unit_began += seconds

    @property
    def unit_seconds_left(self) -> float:
        """Until the present unit is committed, by its pace so far; cautious."""
        if not self._unit_seen:
            return float("inf")
        spent = time.monotonic() - self._unit_began
        left = max(0, self._unit_tokens - self._unit_seen) / self._unit_seen
        return _CAUTION * spent * left

    @property
    def seconds(self) -> float:
        """Time since the teacher was loaded."""
        return time.monotonic() - self._started

    @property
    def tokens_per_second(self) -> float:
        """Tokens that the teacher saw per second of this run."""
        return self.tokens / max(self.seconds, 1e-9)

    def _tell(self) -> None:
        self._told = time.monotonic()
        done = self.done + self._unit_rows * self._unit_seen / max(1, self._unit_tokens)
        figures = {"tokens/s": self.tokens_per_second} if self.tokens else {}
        if self.shard_tokens:
            figures["bytes/token"] = self.bytes / self.shard_tokens
        self.report(
            Progress(stage="dump", done=done, total=self.total, unit="rows", figures=figures)
        )
