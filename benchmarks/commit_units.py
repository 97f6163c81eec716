"""Units, shards and records for measuring the commit protocol where no teacher runs."""

import hashlib

from schemas import layout
from schemas.manifest import Alignment, Capture, Shard, Statistics
from schemas.shard_sums import ShardCounts
from stage1_teacher.commit import Work, open_work
from tests.dumps import make_settings

_STATISTICS = Statistics(
    kept=2_000,
    drawn=300,
    tail_mass=4.5,
    negative_logprob=230.0,
    alignment=Alignment(positions=100, shift_minus_1=2.5, shift_0=0.01, shift_plus_1=2.6),
)
COUNTS = ShardCounts(rows=512, tokens=200_000, positions=100_000, statistics=_STATISTICS)
"""What every unit here holds."""


def join(place: str, count: int) -> Work:
    """A worker of a dump of so many units."""
    units = [(unit, unit + 1) for unit in range(count)]
    settings = make_settings(Capture(), rows=count)
    return open_work(place, settings, units, created_by="benchmarks/commit.py")


def ledger_line(unit: int) -> Shard:
    """No two lines' names and hashes are the same: they are what does not compress."""
    return Shard(
        name=layout.shard_name(unit, hashlib.sha256(f"name {unit}".encode()).hexdigest()[:16]),
        unit=unit,
        rows=512,
        tokens=200_000 + unit % 1000,
        positions=100_000 + unit % 777,
        bytes=1,
        sha256="sha256:" + hashlib.sha256(str(unit).encode()).hexdigest(),
        statistics=_STATISTICS,
    )
