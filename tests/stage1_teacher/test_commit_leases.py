"""Leases: they spread the work, and only that."""

import errno
import os
import signal
from pathlib import Path

import pytest

from schemas import layout
from schemas.storage_posix import PosixStore
from stage1_teacher.commit import BLOCKS, Work, units_per_lease
from stage1_teacher.commit_leases import LEASE_SECONDS, Leases
from tests.shimmed_os import run_forked
from tests.stage1_teacher.commit_runs import (
    attempt,
    join,
)


def test_leases_spread_the_work(folder: Path) -> None:
    one, two = join(folder / "d"), join(folder / "d")
    mine, yours = one.units(), two.units()
    taken = [next(mine), next(yours)]
    assert len(set(taken)) == 2
    for work, unit in zip((one, two), taken, strict=True):
        attempt(work, unit)
    attempt(one, next(mine))
    assert [*mine] == [*yours] == []


@pytest.mark.parametrize("units", [1, 64, 65, 100, 200, 4_096])
def test_leases_are_few_and_cost_64_workers_no_time(units: int) -> None:
    size = units_per_lease(units)
    leases = -(-units // size)
    assert leases <= BLOCKS
    assert -(-leases // 64) * size == -(-units // 64), "as fast as with single units"


def test_leases_of_long_dumps_stay_short() -> None:
    assert units_per_lease(1_000_000) == units_per_lease(5_000) == 64


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_ends_by_the_observers_clock(folder: Path) -> None:
    store, clock = PosixStore(folder / "d"), Clock()
    mine = Leases(store, "me")
    other = Leases(store, "other", clock)
    assert mine.take(7) and mine.take(7)
    assert not other.take(7)
    clock.now += LEASE_SECONDS - 1
    assert not other.take(7)
    assert mine.take(7), "renewed: a new epoch"
    clock.now += 2
    assert not other.take(7)
    clock.now += LEASE_SECONDS
    assert other.take(7)
    assert not mine.take(7)


def test_a_lease_of_a_dead_process_is_free(folder: Path) -> None:
    store = PosixStore(folder / "d")
    assert run_forked(lambda: Leases(store, "dead").take(0) or os._exit(9)) == 0
    assert Leases(store, "me").take(0)


def test_a_lease_of_a_zombie_is_free(folder: Path) -> None:
    """Killed, and its parent has not asked for its status: it still has a process id."""
    store = PosixStore(folder / "d")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        Leases(store, "zombie").take(0)
        os.write(writing, b"x")
        os.kill(os.getpid(), signal.SIGKILL)
    os.read(reading, 1)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert Leases(store, "me").take(0)
    os.waitpid(child, 0)


def test_leases_are_given_back(folder: Path) -> None:
    work = join(folder / "d")
    units = work.units()
    next(units)
    assert list((folder / "d" / layout.LEASES).iterdir())
    units.close()
    assert not list((folder / "d" / layout.LEASES).iterdir())


def test_a_store_whose_leases_fail_still_works(folder: Path) -> None:
    """Correctness never reads them."""

    class NoLeases(PosixStore):
        def names(self, folder: str) -> list[str]:
            if folder == layout.LEASES:
                raise OSError(errno.EIO, "no leases")
            return super().names(folder)

    work = Work(NoLeases(folder / "d"), join(folder / "d").plan, sleep=lambda _: None)
    for unit in work.missing():
        attempt(work, unit)
    assert list(work.units()) == []


def test_waiting_is_said_once(folder: Path) -> None:
    holder = join(folder / "d")
    held = [*zip(range(3), holder.units(), strict=False)]
    messages = []
    waiter = join(folder / "d")
    waits = iter(range(10))

    def sleep(_: float) -> None:
        if next(waits) == 3:
            for unit in range(3):
                attempt(holder, unit)

    waiter._sleep = sleep
    for unit in (u for u, _ in held):
        assert holder._leases.take(unit)
    assert list(waiter.units(messages.append)) == []
    assert [m.message for m in messages] == ["waiting for other workers, who hold the last 3 units"]
