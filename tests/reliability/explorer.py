"""Follows every order in which workers can take their turns, and everything that may go wrong.

Two paths that lead to the same files, with every worker having been told the same, go on the same
way, since a worker is a function of what it was told: such a state is entered once.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from greenlet import getcurrent, greenlet

from schemas import layout
from schemas.errors import PotstillError
from tests.reliability.model_store import FAULTS, Gone, ModelStore, Shared, Step

WRITTEN = (f"{layout.DATA}/", f"{layout.COMMITS}/", layout.MANIFEST)
"""All that the workers here ever write."""

Choice = tuple[str, str]
"""Which worker goes, and what goes wrong: "" for nothing."""

Program = Callable[[ModelStore, "Run"], None]


@dataclass(slots=True)
class Run:
    """One execution: the files, the workers, and what they believe."""

    shared: Shared = field(default_factory=Shared)
    stores: dict[str, ModelStore] = field(default_factory=dict)
    won: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much may go wrong in one execution."""

    faults: int
    deaths: int


Scenario = dict[str, Program]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What must hold: after every step, and when all workers are done."""

    after_a_step: Callable[[Run], list[str]]
    at_the_end: Callable[[Run], list[str]]


class Explorer:
    """Finds every execution; `states` are those that were entered, with what was left then."""

    def __init__(self, scenario: Scenario, bounds: Bounds, checks: Checks) -> None:
        self.states: dict[int, list[tuple[int, int]]] = {}
        self._scenario = scenario
        self._bounds = bounds
        self._checks = checks

    def executions(self) -> Iterator[list[str]]:
        """Problems of every execution."""
        pending: list[list[tuple[Choice, ...]]] = [[()], [], [], [], []]
        while any(pending):
            path = next(paths for paths in pending if paths).pop()
            with _names():
                problems, branches = self._execute(path)
            for branch in branches:
                pending[sum(bool(wrong) for _, wrong in branch)].append(branch)
            yield problems

    def _execute(self, path: tuple[Choice, ...]) -> tuple[list[str], list[tuple[Choice, ...]]]:
        run, branches = Run(), []
        run.shared.files[layout.PLAN] = b"plan"
        waiting = self._start(run)
        taken: list[Choice] = []
        left = [self._bounds.faults, self._bounds.deaths]
        while waiting:
            choices = list(_choices(waiting, left, taken[-1][0] if taken else ""))
            if len(taken) < len(path):
                choice = path[len(taken)]
            elif self._known(run, waiting, left):
                break
            else:
                choice, *others = choices
                branches += [(*taken, other) for other in others]
            taken.append(choice)
            _count(choice, left)
            self._advance(waiting, choice)
            problems = self._checks.after_a_step(run)
            if problems:
                return [f"{problem}, after {taken}" for problem in problems], branches
        else:
            problems = self._checks.at_the_end(run)
            return [f"{problem}, after {taken}" for problem in problems], branches
        _stop(waiting, run)
        return [], branches

    def _start(self, run: Run) -> dict[str, tuple[greenlet, Step]]:
        waiting = {}
        for name, program in self._scenario.items():
            store = run.stores[name] = ModelStore(run.shared, name)
            thread = greenlet(_guarded(program, store, run))
            thread.worker = name
            step = thread.switch()
            if step is not None:
                waiting[name] = (thread, step)
        return waiting

    def _advance(self, waiting: dict[str, tuple[greenlet, Step]], choice: Choice) -> None:
        name, fault = choice
        thread, _ = waiting.pop(name)
        step = thread.switch(fault)
        if step is not None:
            waiting[name] = (thread, step)

    def _known(self, run: Run, waiting: dict[str, Any], left: Sequence[int]) -> bool:
        """Whether this state was entered with at least as much left that may go wrong.

        Of a worker that is done it does not matter what it was told, but for what it believes.
        """
        told = tuple((name, run.stores[name].seen) for name in sorted(waiting))
        state = hash((frozenset(run.shared.files.items()), told, tuple(run.won)))
        entered = self.states.setdefault(state, [])
        if any(faults >= left[0] and deaths >= left[1] for faults, deaths in entered):
            return True
        entered.append((left[0], left[1]))
        return False


def _guarded(program: Program, store: ModelStore, run: Run) -> Callable[[], None]:
    def body() -> None:
        try:
            program(store, run)
        except (PotstillError, Gone):
            return
        except Exception as error:
            run.problems.append(f"{store.worker}: {type(error).__name__}: {error}")

    return body


def _alone(waiting: dict[str, tuple[greenlet, Step]]) -> dict[str, tuple[greenlet, Step]]:
    """One worker alone where its step concerns nobody else: then the order does not matter."""
    for name, (thread, step) in waiting.items():
        if step.kind in ("look", "read") and not _written(step.name):
            return {name: (thread, step)}
    return waiting


def _written(name: str) -> bool:
    """Whether a look at this name may find what a worker wrote; held to what they write."""
    return any(name.startswith(part) or part.startswith(name) for part in WRITTEN)


def _choices(
    waiting: dict[str, tuple[greenlet, Step]], left: Sequence[int], last: str
) -> Iterator[Choice]:
    """Who goes, and what goes wrong.

    A worker dies right after a step of its own, or before its first: that it dies later, while
    others go, is the same.
    """
    for name, (_, step) in _alone(waiting).items():
        yield name, ""
        if left[0]:
            yield from ((name, fault) for fault in FAULTS[step.kind])
    if left[1]:
        yield from ((name, "killed") for name in waiting if last in ("", name))


def _count(choice: Choice, left: list[int]) -> None:
    if choice[1]:
        left[choice[1] == "killed"] -= 1


def _stop(waiting: dict[str, tuple[greenlet, Step]], run: Run) -> None:
    for name, (thread, _) in waiting.items():
        run.stores[name].dead = True
        thread.switch("killed")


def write_id(name: str) -> str:
    return name.encode().hex().ljust(16, "0")


@contextlib.contextmanager
def _names() -> Iterator[None]:
    """Random names become the worker's own, the same in every execution."""

    def token(size: int | None = None) -> str:
        return write_id(getattr(getcurrent(), "worker", "z"))

    with mock.patch("secrets.token_hex", token):
        yield
