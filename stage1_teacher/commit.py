"""The commit protocol of a dump: units, attempts, records. SIGNATURES, implementation follows.

Usage by a worker:

    work = open_work(path, settings, units, created_by="potstill 0.1.0")
    for unit in work.units():                   # leases; ends when no unit is missing any more
        start, end = work.plan.units[unit]
        sums = ShardSums()                      # schemas/shard_sums.py
        with work.attempt(unit) as attempt:     # leaving without commit removes the attempt's files
            write_shard(attempt.sink, tables(sums), columns, attempt.footer(rows, tokens))
            attempt.commit(sums.counts(skipped=0, truncated=0))
    work.publish("README.md", card_bytes)       # tokenizer/..., preview/..., README.md: atomic
    manifest = work.finalise()                  # created last
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from schemas.manifest import Manifest, Settings
from schemas.plan import CommitRecord, Plan, RowRange
from schemas.shard_sums import ShardCounts


def open_work(
    path: str | Path, settings: Settings, units: Sequence[RowRange], *, created_by: str
) -> "Work":
    """Joins the dump at `path`, creating its plan if nobody has.

    Args:
        path: a local folder; created when absent.
        settings: everything that decides the numbers.
        units: half-open ranges of corpus rows, one per unit, without gaps.
        created_by: program and version, e.g. "potstill 0.1.0".

    Raises:
        ConflictError: the dump there has other settings; every differing field is shown.
        FormatError: the folder holds something else.
        InputError: no permission, disk full, or a store that cannot create only if absent.
    """
    raise NotImplementedError


class Work:
    """A dump under construction, as one worker sees it."""

    plan: Plan

    @property
    def complete(self) -> bool:
        """Whether manifest.json exists: nothing is left to do, not even `finalise`."""
        raise NotImplementedError

    def committed(self) -> dict[int, CommitRecord]:
        """The records so far, by unit, ascending."""
        raise NotImplementedError

    def missing(self) -> list[int]:
        """Units without a record, ascending."""
        raise NotImplementedError

    def units(self) -> Iterator[int]:
        """Yields units to compute until none is missing; waits while others hold the last ones."""
        raise NotImplementedError

    def attempt(self, unit: int) -> "Attempt":
        """One attempt at a unit: a context manager."""
        raise NotImplementedError

    def publish(self, name: str, data: bytes) -> None:
        """Writes a companion file (README.md, tokenizer/…, preview/…): whole or not at all."""
        raise NotImplementedError

    def snapshot(self) -> Manifest | None:
        """Adds the next ledger version: what a reader of a growing dump sees."""
        raise NotImplementedError

    def finalise(self) -> Manifest:
        """Removes what lost, then creates manifest.json from plan and records only."""
        raise NotImplementedError


class Attempt:
    """One attempt at a unit: files under names of its own, then at most one record."""

    unit: int
    name: str

    @property
    def sink(self) -> BinaryIO:
        """Where the shard is written; hashed while writing."""
        raise NotImplementedError

    @property
    def hidden_sink(self) -> BinaryIO:
        """Where the hidden states are written; exists from its first use."""
        raise NotImplementedError

    def footer(self, rows: int, tokens: int) -> dict[str, object]:
        """What the shard's footer repeats."""
        raise NotImplementedError

    def commit(self, counts: ShardCounts) -> bool:
        """Commits the unit: True when this attempt won it, False when another had.

        Raises:
            TemporaryError: the outcome is unknown; the shard is left where it is.
            InputError: disk full or no permission; nothing of the attempt is left.
        """
        raise NotImplementedError

    def __enter__(self) -> "Attempt":
        raise NotImplementedError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        raise NotImplementedError
