"""Many workers at one unit at the same moment: one wins, whatever the scheduler does."""

import os
import random
import shutil
import signal
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from schemas.storage_posix import PosixStore
from stage1_teacher.commit import Work
from tests.reliability.campaign import Outcome, Tier, scratch
from tests.reliability.small_dump import Acknowledged, attempt, finish, join, problems, recovered
from tests.shimmed_os import ShimmedOs, crash_at

RACERS = 64
ROUNDS: dict[Tier, int] = {"pr": 12, "nightly": 200, "release": 1_000}
WRITERS: dict[Tier, int] = {"pr": 3, "nightly": 50, "release": 200}
KILLED_AMONG = 300
"""Writers die at a call before this one, drawn at random; half of them do."""
_PATIENCE = 180.0


class ExistsThenWrite(PosixStore):
    """What fsspec's local create mode does: it looks, and then writes."""

    def create(self, name: str, data: bytes) -> bool:
        """Not atomic."""
        if self.size(name) is not None:
            return False
        os.sched_yield()
        self.replace(name, data)
        return True


def races(tier: Tier) -> Outcome:
    """Racers at one unit; writers of whole dumps with kills; a store that must be seen to fail."""
    outcome = Outcome()
    race_campaign(outcome, ROUNDS[tier], PosixStore)
    writer_campaign(outcome, WRITERS[tier])
    control = Outcome()
    race_campaign(control, 4, ExistsThenWrite)
    outcome.figures["races that a store decided wrongly which looks and then writes"] = len(
        {violation.partition(":")[0] for violation in control.violations}
    )
    if not control.violations:
        outcome.violate("negative control", ["a store that looks and then writes was not caught"])
    return outcome


def race_campaign(outcome: Outcome, rounds: int, store: Callable[[Path], PosixStore]) -> None:
    """Every round: 64 processes attempt unit 0 of one dump, each with bytes of its own."""
    for number in range(rounds):
        with scratch() as folder:
            won = _race(folder / "d", store)
            outcome.count(f"races of {RACERS} processes at one unit")
            if sum(won) != 1:
                outcome.violate(f"race {number}", [f"{sum(won)} of {RACERS} won"])
            outcome.violate(f"race {number}", problems(folder / "d"))
            outcome.violate(f"race {number}", recovered(folder / "d"))


def _race(path: Path, store: Callable[[Path], PosixStore]) -> list[int]:
    start = get_context("fork").Barrier(RACERS)
    won = get_context("fork").Array("b", RACERS)
    plan = join(path).plan

    def racer(number: int) -> None:
        work = Work(store(path), plan)
        start.wait(_PATIENCE)
        won[number] = attempt(work, 0, str(number))

    _all(RACERS, racer)
    return list(won)


def writer_campaign(outcome: Outcome, rounds: int) -> None:
    """64 workers of one dump, from joining to finalising; half of them are killed somewhere."""
    generator = random.Random(0)
    for number in range(rounds):
        with scratch() as folder:
            told = Acknowledged()
            points = [
                generator.choice((None, generator.randrange(KILLED_AMONG))) for _ in range(64)
            ]

            def writer(index: int, path: Path = folder / "d", points=points, told=told) -> None:
                calls = os if points[index] is None else ShimmedOs(before=crash_at(points[index]))
                finish(path, calls, str(index), told)

            statuses = _all(RACERS, writer)
            outcome.count("dumps of 64 writers, half of them killed")
            strange = [f"a worker ended with {status}" for status in statuses - {0, -9}]
            outcome.violate(f"writers {number}", strange + problems(folder / "d", told))
            outcome.violate(f"writers {number}", recovered(folder / "d"))
            shutil.rmtree(folder / "d")


def _all(count: int, work: Callable[[int], None]) -> set[int]:
    """Forks `count` processes, none of which lives longer than six minutes; their exit statuses."""
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            signal.alarm(2 * int(_PATIENCE))
            try:
                work(number)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    return {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children}
