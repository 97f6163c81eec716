"""A dump as small as one can be that still has every part, and the invariant that it must keep.

Its shards hold a sentence instead of Parquet: the protocol does not look into them.
"""

import contextlib
import hashlib
import itertools
import mmap
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from schemas import layout
from schemas.errors import PotstillError
from schemas.manifest import Alignment, Capture, Manifest, Statistics
from schemas.plan import CommitRecord, Plan
from schemas.shard_sums import ShardCounts
from schemas.storage import Store
from schemas.storage_posix import PosixStore
from schemas.strict_json import parse_model
from stage1_teacher.commit import Work, open_work
from tests.dumps import make_settings

UNITS = [(0, 8), (8, 16)]
SETTINGS = make_settings(Capture(), rows=16)
CARD = b"card"
MOST_POLLS = 2_000

_NOTHING = Alignment(positions=0, shift_minus_1=None, shift_0=None, shift_plus_1=None)
COUNTS = ShardCounts(
    rows=8,
    tokens=80,
    positions=70,
    statistics=Statistics(kept=5, drawn=1, tail_mass=0.5, negative_logprob=1.0, alignment=_NOTHING),
)


class Acknowledged:
    """What workers were told is done, in memory that forked processes share with us."""

    def __init__(self, hear: Callable[[int | None], None] = lambda unit: None) -> None:
        self._memory = mmap.mmap(-1, len(UNITS) + 1)
        self._hear = hear

    def unit(self, unit: int) -> None:
        """A unit's commit gave True."""
        self._memory[unit] = 1
        self._hear(unit)

    def complete(self) -> None:
        """`finalise` came back."""
        self._memory[len(UNITS)] = 1
        self._hear(None)

    def units(self) -> set[int]:
        """Units that were acknowledged."""
        return {unit for unit in range(len(UNITS)) if self._memory[unit]}

    @property
    def finished(self) -> bool:
        """Whether a whole dump was."""
        return bool(self._memory[len(UNITS)])


@contextlib.contextmanager
def few_racers() -> Iterator[None]:
    """Inside, the probe of a store takes two racers: where it is not what is tried, it is slow."""
    with mock.patch("schemas.store_probe.RACERS", 2):
        yield


class Stuck(Exception):
    """A worker waits, and nobody is there whom it could wait for."""


def join(path: Path, calls: Any = os, store: Store | None = None) -> Work:
    """A worker that joins the dump; it waits for others a hundred times shorter than usual."""
    store = store or PosixStore(path, calls)
    work = open_work(path, SETTINGS, UNITS, created_by="test", store=store)
    polls = itertools.count()

    def wait(seconds: float) -> None:
        if next(polls) > MOST_POLLS:
            raise Stuck(f"it polled {MOST_POLLS} times, and nothing changed")
        time.sleep(seconds / 100)

    work._sleep = wait
    return work


def content(unit: int, who: str) -> bytes:
    """A shard: no two workers' are the same."""
    return f"shard of {unit} by {who}".encode() * 40


def attempt(work: Work, unit: int, who: str, told: Acknowledged | None = None) -> bool:
    """One attempt at a unit, with hidden states."""
    with work.attempt(unit) as one:
        one.sink.write(content(unit, who))
        one.hidden_sink.write(content(unit, who) + b" hidden")
        won = one.commit(COUNTS)
    if won and told:
        told.unit(unit)
    return won


def finish(
    path: Path,
    calls: Any = os,
    who: str = "a",
    told: Acknowledged | None = None,
    store: Store | None = None,
) -> Manifest:
    """A whole worker: joins, computes what is missing, takes snapshots, finalises, tidies up."""
    work = join(path, calls, store)
    with contextlib.closing(work.units()) as units:
        for unit in units:
            attempt(work, unit, who, told)
            if not work.complete:
                work.snapshot()
    work.publish(layout.CARD, CARD)
    manifest = work.finalise()
    if told:
        told.complete()
    return manifest


def problems(path: Path, told: Acknowledged | None = None) -> list[str]:
    """What of the invariant does not hold in the state on disk; it may be an unfinished one.

    Every unit that was acknowledged has its record; every record, snapshot and manifest that is
    there can be read, and names files that are whole; a manifest names every unit once.
    """
    found = []
    committed = set()
    for record in sorted((path / layout.WORK).rglob("??/[0-9]*.json")):
        found += _tried(lambda r=record: _record_problems(path, r, committed))  # type: ignore[misc]
    lost = (told.units() if told else set()) - committed
    found += [f"unit {unit} was acknowledged and is lost" for unit in sorted(lost)]
    manifest = path / layout.MANIFEST
    for ledger in [*sorted((path / layout.LEDGER).glob("[0-9]*.json")), manifest]:
        if ledger.exists():
            found += _tried(lambda at=ledger: _ledger_problems(path, at))  # type: ignore[misc]
    if told and told.finished and not manifest.exists():
        found.append("the dump was acknowledged as complete and has no manifest")
    return found


def whole(path: Path) -> list[str]:
    """What is wrong with a dump that was just finished: the invariant, and nothing besides it."""
    if not (path / layout.MANIFEST).exists():
        return ["there is no manifest"]
    return problems(path) + _untidy(path)


def recovered(path: Path, who: str = "z") -> list[str]:
    """Finishes the dump as an undisturbed worker, then says what is wrong with it."""
    forget_leases(path)
    try:
        finish(path, who=who)
    except (PotstillError, Stuck) as error:
        return [f"it cannot go on: {error}"]
    return whole(path)


def forget_leases(path: Path) -> None:
    """Removes leases whose holder died in place: it was this very process, which still runs."""
    for lease in (path / layout.LEASES).glob("*"):
        lease.unlink()


def _untidy(path: Path) -> list[str]:
    manifest = parse_model(Manifest, (path / layout.MANIFEST).read_bytes(), layout.MANIFEST)
    found = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}
    expected = {layout.MANIFEST, layout.PLAN, layout.CARD}
    for shard in manifest.shards:
        expected |= {f"{layout.DATA}/{shard.name}", f"{layout.HIDDEN}/{shard.name}"}
    plan = parse_model(Plan, (path / layout.PLAN).read_bytes(), layout.PLAN)
    records = {layout.record_path(shard.unit) for shard in manifest.shards}
    if plan.store_class == "neither":
        records = {name for name in found if name.startswith(layout.ATTEMPTS)}
    expected |= records
    others = {name for name in found - expected if not name.startswith(layout.LEDGER)}
    return [f"{name} was left over" for name in sorted(others)] + [
        f"{name} is missing" for name in sorted(expected - found)
    ]


def _record_problems(path: Path, record: Path, committed: set[int]) -> list[str]:
    line = parse_model(CommitRecord, record.read_bytes(), record.name)
    committed.add(line.unit)
    return _file_problems(path, line.shard.name, line.shard.sha256, line.shard.hidden_sha256)


def _ledger_problems(path: Path, ledger: Path) -> list[str]:
    manifest = parse_model(Manifest, ledger.read_bytes(), ledger.name)
    units = [shard.unit for shard in manifest.shards]
    found = []
    if ledger.name == layout.MANIFEST and units != list(range(len(UNITS))):
        found.append(f"the manifest names the units {units}")
    for shard in manifest.shards:
        found += _file_problems(path, shard.name, shard.sha256, shard.hidden_sha256)
    return found


def _file_problems(path: Path, name: str, data: str, hidden: str | None) -> list[str]:
    found = []
    for folder, expected in ((layout.DATA, data), (layout.HIDDEN, hidden)):
        file = path / folder / name
        if not file.exists():
            found.append(f"{folder}/{name} is committed and missing")
        elif "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            found.append(f"{folder}/{name} is committed and not whole")
    return found


def _tried(check: Callable[[], list[str]]) -> list[str]:
    try:
        return check()
    except PotstillError as error:
        return [str(error)]
