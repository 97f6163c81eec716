"""Proves a dump whole and aligned, without a teacher. SIGNATURE, implementation follows."""

from dataclasses import dataclass

from schemas.manifest import Alignment
from schemas.progress import Report, ignore


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: where, what was found, what to do."""

    where: str
    problem: str
    cure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The outcome; `ok` when there are no findings."""

    url: str
    identity: str
    shards: int
    rows: int
    tokens: int
    positions: int
    bytes: int
    alignment: Alignment
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify(url: str, report: Report = ignore) -> Verification:
    """Reads every shard once, memory bounded by a row group; never loads a model.

    Raises:
        PotstillError: the dump cannot be opened at all (see `open_dump`).
    """
    raise NotImplementedError
