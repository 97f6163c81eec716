"""Sums over a shard's row groups, for its ledger line; recomputed by verify."""

from dataclasses import dataclass

import pyarrow as pa

from schemas.manifest import Statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCounts:
    """What a worker counted in one shard.

    `skipped` and `truncated` count corpus rows left out and cut; the rest is seen in the tables.
    """

    rows: int
    tokens: int
    positions: int
    statistics: Statistics
    skipped: int = 0
    truncated: int = 0


class ShardSums:
    """Accumulates over row groups; the alignment self-test is part of it."""

    def add(self, table: pa.Table) -> None:
        """Adds one row group: a table of the dump's columns, numbers already rounded."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises DamagedError when the alignment self-test fails."""
        raise NotImplementedError

    def counts(self, *, skipped: int = 0, truncated: int = 0) -> ShardCounts:
        """The sums so far."""
        raise NotImplementedError
