"""Loss of power after every call: all subsets of what was not yet durable.

A state counts as tried when it was built; two that hold the same are recovered from once.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.reliability.campaign import Outcome, Tier, scratch
from tests.reliability.disk import Disk, Tree
from tests.reliability.kills import calls_of, dies
from tests.reliability.small_dump import Acknowledged, few_racers, finish, problems, recovered
from tests.shimmed_os import ShimmedOs

OPEN: dict[Tier, int] = {"pr": 10, "nightly": 12, "release": 14}
"""At most so many changes vary at a point: 2^10, 2^12, 2^14 states."""

Worker = Callable[[Path, Any, Acknowledged], object]


def whole_worker(path: Path, shim: Any, told: Acknowledged) -> None:
    """Every phase of a dump, with one worker."""
    finish(path, shim, told=told)


def power_loss(tier: Tier) -> Outcome:
    """Every point of a whole dump, and of workers that go on after one that died on the way."""
    return power_campaign(OPEN[tier], deaths=(0.35, 0.5, 0.65, 0.8))


def power_campaign(
    most: int, worker: Worker = whole_worker, deaths: tuple[float, ...] = ()
) -> Outcome:
    """The same for any worker.

    Args:
        most: so many changes vary at a point.
        worker: what is traced.
        deaths: after which share of its calls a first worker dies, one dump each.
    """
    outcome, seen = Outcome(), set[str]()
    with scratch() as folder, few_racers():
        points = calls_of(worker, folder / "dry") if deaths else 0
        for death in (0.0, *deaths):
            told = Acknowledged()
            if death:
                dies(folder / "dump", worker, told, (int(points * death), "before"))
            _trace(outcome, folder, worker, (told.units(), most, seen))
            shutil.rmtree(folder / "dump")
        outcome.figures["different states, each recovered from"] = len(seen)
    return outcome


def _trace(
    outcome: Outcome, folder: Path, worker: Worker, start: tuple[set[int], int, set[str]]
) -> None:
    """One worker's calls, one by one; `start` is what was done before it, `most` and `seen`."""
    before, most, seen = start
    shim, disk = Telling(), Disk.of(folder / "dump")
    worker(folder / "dump", shim, Acknowledged(shim.acknowledged))
    for point, (name, args, result) in enumerate(shim.trace):
        disk.apply(name, args, result)
        done = (*sorted(before), *shim.told_at(point))
        for tree in disk.states(most):
            outcome.count("states of the disk")
            key = _digest(tree, done)
            if key not in seen:
                seen.add(key)
                _recover(outcome, folder, tree, (done, f"after call {point} ({name})"))


class Telling(ShimmedOs):
    """Notes in its trace when a unit was acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self._told: list[tuple[int, int | None]] = []

    def acknowledged(self, unit: int | None) -> None:
        """From here on the unit (None: the whole dump) must survive."""
        self._told.append((len(self.trace), unit))

    def told_at(self, point: int) -> tuple[int | None, ...]:
        """What was acknowledged before the call after this one."""
        return tuple(unit for place, unit in self._told if place <= point + 1)


def _recover(
    outcome: Outcome, folder: Path, tree: Tree, at: tuple[tuple[int | None, ...], str]
) -> None:
    done, where = at
    path = folder / "after"
    _write(tree, folder / "dump", path)
    told = Acknowledged()
    for unit in done:
        told.complete() if unit is None else told.unit(unit)
    outcome.violate(where, problems(path, told))
    outcome.violate(where, recovered(path))
    shutil.rmtree(path, ignore_errors=True)


def _write(tree: Tree, root: Path, path: Path) -> None:
    for name, content in tree.items():
        target = path / Path(name).relative_to(root)
        if content is None:
            target.mkdir(parents=True)
        else:
            target.write_bytes(content)


def _digest(tree: Tree, done: tuple[int | None, ...]) -> str:
    total = hashlib.sha256(repr(done).encode())
    for name in sorted(tree):
        content = tree[name]
        total.update(f"{name}\0{'-' if content is None else len(content)}\0".encode())
        total.update(content or b"")
    return total.hexdigest()
