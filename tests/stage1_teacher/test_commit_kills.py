"""Whoever dies, fails or interferes at whichever call: nothing is lost, nothing doubled."""

import errno
import os
import random
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas import layout
from schemas.errors import PotstillError
from tests.reliability.small_dump import few_racers
from tests.shimmed_os import ShimmedOs, crash_at, fail_at, run_forked
from tests.stage1_teacher.commit_runs import (
    RACED,
    attempt,
    calls_of_a_run,
    check_tidy,
    check_whole,
    finish,
    join,
)


@pytest.fixture(autouse=True)
def small_probe() -> Iterator[None]:
    """Kills among eight racers are a campaign's: tests/reliability/kills.py."""
    with few_racers():
        yield


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_every_call(folder: Path, moment: str) -> None:
    """Every call of a whole worker is a crash point; the next worker finishes the dump."""
    points = calls_of_a_run(folder)
    killed = 0
    for point in range(points + 20):
        path = folder / f"{point}"
        shim = ShimmedOs(**{moment: crash_at(point)})
        status = run_forked(lambda path=path, shim=shim: finish(path, shim))
        assert status == -9 or (status == 0 and point >= points - RACED)
        killed += status == -9
        if (path / layout.MANIFEST).exists():
            check_whole(path)
        check_tidy(path, finish(path, who="b"))
        check_whole(path)
        shutil.rmtree(path)
    assert points - RACED <= killed < points + 20, "every call was a crash point"


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EEXIST])
def test_every_call_fails_once(folder: Path, moment: str, error: int) -> None:
    """The error may come instead of the call, or although the call was done: a lost answer."""
    for point in range(calls_of_a_run(folder)):
        path = folder / f"{point}"
        try:
            finish(path, ShimmedOs(**{moment: fail_at(point, error)}))
        except PotstillError as told:
            assert len(str(told)) > 40
        if (path / layout.MANIFEST).exists():
            check_whole(path)
        finish(path, who="b")
        check_whole(path)
        shutil.rmtree(path)


def test_another_worker_commits_at_every_call(folder: Path) -> None:
    """While A works on unit 1, B does the same unit, from start to end, between two calls of A."""
    won = set()
    for point in range(200):
        path = folder / f"{point}"
        join(path)
        shim = ShimmedOs()
        mine = join(path, shim)
        start, results = shim.calls, []

        # joining also cleans up
        shim.meanwhile(point + start, lambda p=path, r=results: r.append(attempt(join(p), 1, "b")))
        results.append(attempt(mine, 1, "a"))
        won.add(tuple(results))
        assert sum(results) == 1, "exactly one wins"
        assert len(list((path / "data").glob("part-000001-*"))) == 1, "the loser tidies up"
        finish(path)
        check_whole(path)
        shutil.rmtree(path)
        if len(results) == 1:
            break
    assert {(True, False), (False, True)} & won and (True,) in won


def test_a_finaliser_beside_a_finaliser_at_every_call(folder: Path) -> None:
    for point in range(200):
        path = folder / f"{point}"
        shim = ShimmedOs()
        work, done = join(path, shim), []
        for unit in work.missing():
            attempt(work, unit)
        start = shim.calls

        shim.meanwhile(point + start, lambda p=path, d=done: d.append(finish(p, who="b")))
        work.publish("README.md", b"card")
        assert work.finalise() == check_whole(path)
        check_tidy(path, work.finalise())
        assert done in ([], [work.manifest()])
        shutil.rmtree(path)
        if not done:
            break


def test_two_finalisers_write_the_same_bytes(folder: Path) -> None:
    work = join(folder / "d")
    for unit in work.missing():
        attempt(work, unit)
    shutil.copytree(folder / "d", folder / "e")
    first, second = join(folder / "d").finalise(), join(folder / "e").finalise()
    assert first == second
    assert (folder / "d" / layout.MANIFEST).read_bytes() == (
        folder / "e" / layout.MANIFEST
    ).read_bytes()


def test_many_processes_share_a_dump(folder: Path) -> None:
    """Some are killed at random calls; the rest finish."""
    random.seed(0)
    for round_number in range(4):
        path = folder / f"{round_number}"
        children = []
        for worker in range(5):
            point = random.randrange(300) if worker else None
            child = os.fork()
            if child == 0:
                shim = ShimmedOs(before=crash_at(point)) if point else os
                try:
                    finish(path, shim, who=str(worker))
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            children.append(child)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]
        assert statuses[0] == 0 and set(statuses) <= {0, -9}
        check_whole(path)


# What a reordering disk could lose: everything visible must be durable first.


def undurable(trace: list[tuple[str, tuple[Any, ...], Any]]) -> list[str]:
    """Names that became visible before their content, or meaningful before their folder entry."""
    paths: dict[int, str] = {}
    synced: set[str] = set()
    unsynced_entries: dict[str, str] = {}
    problems = []
    for name, args, result in trace:
        if name == "open":
            paths[result] = args[0]
        elif name == "fsync":
            synced.add(paths[args[0]])
            for entry, folder in list(unsynced_entries.items()):
                if folder == paths[args[0]]:
                    del unsynced_entries[entry]
        elif name == "mkdir":
            unsynced_entries[args[0]] = str(Path(args[0]).parent)
        elif name in ("rename", "link"):
            if args[0] not in synced:
                problems.append(f"{args[1]} became visible before its content was durable")
            meaningful = "commits" in args[1] or args[1].endswith(layout.MANIFEST)
            if meaningful:
                problems += [f"{args[1]} came before {entry}" for entry in unsynced_entries]
            unsynced_entries[args[1]] = str(Path(args[1]).parent)
    leases = f"/{layout.LEASES}"
    kept = [entry for entry in unsynced_entries if leases not in entry]
    return problems + [f"{entry} was never made durable" for entry in kept]


def test_durable_before_visible(folder: Path) -> None:
    shim = ShimmedOs()
    work = join(folder / "d", shim)
    for unit in work.missing():
        attempt(work, unit, hidden=True)
    work.finalise()
    assert undurable(shim.trace) == []


@pytest.mark.parametrize("dropped", range(7))
def test_every_fsync_of_a_commit_is_needed(folder: Path, dropped: int) -> None:
    """A seeded defect per fsync: the check above sees each one."""
    join(folder / "d")
    shim = ShimmedOs()
    assert attempt(join(folder / "d", shim), 0)
    start = next(i for i, (n, a, _) in enumerate(shim.trace) if n == "mkdir" and "data" in a[0])
    trace = shim.trace[start:]
    syncs = [i for i, (name, _, _) in enumerate(trace) if name == "fsync"]
    assert len(syncs) == 7
    assert undurable(trace) == []
    del trace[syncs[dropped]]
    assert undurable(trace)


# Outcomes of a commit.
