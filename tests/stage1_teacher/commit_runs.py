"""Runs of the commit protocol with shards that are no Parquet, and what must hold after them."""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from schemas import layout
from schemas.manifest import Alignment, Capture, Manifest, Settings, Statistics
from schemas.shard_sums import ShardCounts
from schemas.storage_posix import PosixStore
from schemas.strict_json import parse_model
from stage1_teacher.commit import Work, open_work
from tests.dumps import make_settings
from tests.shimmed_os import ShimmedOs

UNITS = [(0, 8), (8, 16), (16, 20)]
RACED = 10
"""By so many calls two runs may differ: the eight racers of the probe make folders together."""

NOTHING = Alignment(positions=0, shift_minus_1=None, shift_0=None, shift_plus_1=None)
COUNTS = ShardCounts(
    rows=8,
    tokens=80,
    positions=70,
    statistics=Statistics(kept=5, drawn=1, tail_mass=0.5, negative_logprob=1.0, alignment=NOTHING),
)


def settings(**changes: Any) -> Settings:
    return make_settings(Capture(**changes), rows=20)


def join(path: Path, calls: Any = os, **changes: Any) -> Work:
    store = PosixStore(path, calls)
    return open_work(path, settings(**changes), UNITS, created_by="test", store=store)


def content(unit: int, who: str) -> bytes:
    return f"shard of {unit} by {who}".encode()


def attempt(work: Work, unit: int, who: str = "a", hidden: bool = False) -> bool:
    with work.attempt(unit) as one:
        one.sink.write(content(unit, who))
        if hidden:
            one.hidden_sink.write(content(unit, who) + b" hidden")
        return one.commit(COUNTS)


def finish(path: Path, calls: Any = os, who: str = "a") -> Manifest:
    """A whole worker: joins, computes what is missing, finalises."""
    work = join(path, calls)
    work._sleep = lambda seconds: time.sleep(seconds / 100)
    for unit in work.units():
        attempt(work, unit, who)
    work.publish("README.md", b"card")
    return work.finalise()


def check_whole(path: Path) -> Manifest:
    """The invariant: the manifest names one shard per unit, whole, and nothing else is there."""
    manifest = parse_model(Manifest, (path / layout.MANIFEST).read_bytes(), "manifest.json")
    assert [shard.unit for shard in manifest.shards] == [0, 1, 2]
    for shard in manifest.shards:
        data = (path / layout.DATA / shard.name).read_bytes()
        assert data.startswith(f"shard of {shard.unit} by".encode())
        assert len(data) == shard.bytes
        assert "sha256:" + hashlib.sha256(data).hexdigest() == shard.sha256
    return manifest


def files(path: Path) -> set[str]:
    return {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}


def check_tidy(path: Path, manifest: Manifest) -> None:
    records = {layout.record_path(unit) for unit in range(3)}
    shards = {f"data/{shard.name}" for shard in manifest.shards}
    assert files(path) == {"README.md", layout.MANIFEST, layout.PLAN} | records | shards


def calls_of_a_run(folder: Path) -> int:
    shim = ShimmedOs()
    finish(folder / "dry", shim)
    return shim.calls
