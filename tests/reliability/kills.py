"""Workers that die at any call of the system, and so do those that go on after them.

The first death is a real one: a forked process kills itself with SIGKILL at the call. The second,
of the worker that recovers, is real for every call of it once; in the many pairs beyond that, every
call from the point on is refused in place, which leaves the same on disk: no clean-up runs.
"""

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.reliability.campaign import Outcome, Tier, scratch
from tests.reliability.small_dump import (
    Acknowledged,
    few_racers,
    finish,
    forget_leases,
    problems,
    recovered,
)
from tests.shimmed_os import Happening, ShimmedOs, crash_at, run_forked

PAIRS: dict[Tier, int] = {"pr": 9_250, "nightly": 99_500, "release": 400_000}
MOMENTS = ("before", "after")
RACED = 10
"""By so many calls two runs may differ: the eight racers of the probe make folders together."""

Worker = Callable[[Path, Any, Acknowledged], object]


class Dead(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def die_at(point: int) -> Happening:
    """From call number `point` on, every call is refused: this worker does nothing any more."""

    def happen(number: int, name: str, args: tuple[Any, ...]) -> None:
        if number >= point:
            raise Dead

    return happen


@contextlib.contextmanager
def closing(shim: ShimmedOs) -> Iterator[None]:
    """Closes what a dead worker left open, as the system does."""
    try:
        yield
    finally:
        for fd in still_open(shim):
            with contextlib.suppress(OSError):
                os.close(fd)


def still_open(shim: ShimmedOs) -> set[int]:
    """Descriptors that were opened and not closed."""
    held: set[int] = set()
    for name, args, result in list(shim.trace):
        if name == "open":
            held.add(result)
        elif name == "close":
            held.discard(args[0])
    return held


def whole_worker(path: Path, calls: Any, told: Acknowledged) -> None:
    """Joins, computes, takes snapshots, finalises, tidies up."""
    finish(path, calls, told=told)


def calls_of(worker: Worker, path: Path) -> int:
    """How many calls an undisturbed worker makes."""
    shim = ShimmedOs()
    worker(path, shim, Acknowledged())
    return shim.calls


def kills(tier: Tier) -> Outcome:
    """Every point once with SIGKILL, the recovery's every point once, then pairs at random."""
    return kill_campaign(PAIRS[tier], seed=0)


def kill_campaign(pairs: int, seed: int, worker: Worker = whole_worker) -> Outcome:
    """The same for any worker: seeded defects are found with a smaller one."""
    outcome = Outcome()
    with scratch() as folder:
        points = calls_of(worker, folder / "dry")
        outcome.figures["calls of an undisturbed worker"] = points
        for point in range(points + RACED):
            for moment in MOMENTS:
                _first_death(outcome, folder / "one", worker, (point, moment, points))
        _recovery_deaths(outcome, folder / "two", worker, points)
        with few_racers():
            _pairs(outcome, folder / "pair", worker, (pairs, points, seed))
    return outcome


def _first_death(outcome: Outcome, path: Path, worker: Worker, at: tuple[int, str, int]) -> None:
    point, moment, points = at
    told = Acknowledged()
    status = _killed(path, worker, told, (point, moment))
    where = f"SIGKILL {moment} call {point}"
    if status == -9:
        outcome.count("SIGKILL at a call")
    elif status != 0 or point < points - RACED:
        outcome.violate(where, [f"the worker ended with {status}"])
    outcome.violate(where, problems(path, told))
    outcome.violate(where, recovered(path))
    shutil.rmtree(path, ignore_errors=True)


def _recovery_deaths(outcome: Outcome, path: Path, worker: Worker, points: int) -> None:
    """The first dies in the middle, the second at every call in turn; both with SIGKILL."""
    half = path.parent / "half"
    told = Acknowledged()
    _killed(half, worker, told, (points * 2 // 3, "before"))
    first = told.units()
    for point in range(points):
        shutil.copytree(half, path)
        again = Acknowledged()
        for unit in first:
            again.unit(unit)
        if _killed(path, worker, again, (point, "before")) != -9:
            outcome.violate(f"recovery {point}", recovered(path))
            shutil.rmtree(path)
            break
        outcome.count("SIGKILL at a call of the recovery")
        outcome.violate(f"SIGKILL of the recovery before call {point}", problems(path, again))
        outcome.violate(f"after SIGKILL of the recovery before call {point}", recovered(path))
        shutil.rmtree(path)


def _killed(path: Path, worker: Worker, told: Acknowledged, at: tuple[int, str]) -> int:
    shim = ShimmedOs(**{at[1]: crash_at(at[0])})
    return run_forked(lambda: worker(path, shim, told))


def _pairs(outcome: Outcome, path: Path, worker: Worker, size: tuple[int, int, int]) -> None:
    pairs, points, seed = size
    generator = random.Random(seed)
    for _ in range(pairs):
        deaths = [(generator.randrange(points), generator.choice(MOMENTS)) for _ in range(2)]
        told = Acknowledged()
        where = f"deaths at {deaths}"
        for death in deaths:
            dies(path, worker, told, death)
            outcome.violate(where, problems(path, told))
        outcome.violate(where, recovered(path))
        outcome.count("two deaths, in place")
        shutil.rmtree(path)


def dies(path: Path, worker: Worker, told: Acknowledged, at: tuple[int, str]) -> None:
    """Runs a worker that dies in place at a call."""
    shim = ShimmedOs(**{at[1]: die_at(at[0])})
    with closing(shim), contextlib.suppress(Dead):
        worker(path, shim, told)
    forget_leases(path)
