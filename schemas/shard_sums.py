"""Sums over a shard's row groups, for its ledger line; verify computes them again."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from schemas.alignment import AlignmentTest
from schemas.errors import DamagedError
from schemas.manifest import GenerationCounts, Statistics
from schemas.row_group import RowGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCounts:
    """What a worker counted in one shard.

    `skipped` and `truncated` count corpus rows left out and cut, `failed` samples set aside,
    `generation` responses; the rest is seen in the tables.
    """

    rows: int
    tokens: int
    positions: int
    statistics: Statistics
    skipped: int = 0
    truncated: int = 0
    failed: int = 0
    generation: GenerationCounts | None = None


@dataclass(slots=True)
class ShardSums:
    """Accumulates over row groups, of the numbers as stored; `alignment` is the self-test."""

    rows: int = 0
    tokens: int = 0
    positions: int = 0
    kept: int = 0
    drawn: int = 0
    tail_mass: float = 0.0
    negative_logprob: float = 0.0
    alignment: AlignmentTest = field(default_factory=AlignmentTest)

    def add(self, table: pa.Table) -> None:
        """Adds one row group: a table of the dump's columns, numbers already rounded."""
        group = RowGroup.of(table)
        self.rows += table.num_rows
        self.tokens += len(group.tokens.values)
        self.positions += len(group.positions.values)
        self.kept += len(group.topk_ids.values)
        self.drawn += len(group.tail_ids.values)
        self.tail_mass += float(np.exp(group.tail_logmass.values.astype(np.float64)).sum())
        self.negative_logprob -= float(group.token_logprobs.values.sum(dtype=np.float64))
        self.alignment.add_group(group)

    def check(self) -> None:
        """Raises DamagedError when the alignment self-test fails."""
        problems = self.alignment.problems()
        if problems:
            raise DamagedError(
                "the alignment self-test failed, so nothing of this unit was kept: "
                + "; ".join(problems)
                + ". The engine's numbers do not belong to the tokens that they are stored with: "
                "this is a bug, please report it with the teacher's name and the engine's version."
            )

    def statistics(self) -> Statistics:
        """The sums as the ledger holds them."""
        return Statistics(
            kept=self.kept,
            drawn=self.drawn,
            tail_mass=self.tail_mass,
            negative_logprob=self.negative_logprob,
            alignment=self.alignment.result(),
        )

    def counts(
        self,
        *,
        skipped: int = 0,
        truncated: int = 0,
        failed: int = 0,
        generation: GenerationCounts | None = None,
    ) -> ShardCounts:
        """The sums so far, and what the worker knows besides."""
        return ShardCounts(
            rows=self.rows,
            tokens=self.tokens,
            positions=self.positions,
            statistics=self.statistics(),
            skipped=skipped,
            truncated=truncated,
            failed=failed,
            generation=generation,
        )
