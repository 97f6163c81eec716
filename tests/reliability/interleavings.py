"""All orders in which workers can meet, with faults of the store and deaths in between.

The real workers run against a store in memory; each of their operations is one step. After every
step the explorer branches over who goes next and what goes wrong. Two paths that lead to the same
files, with every worker having been told the same, go on the same way, since a worker is a function
of what it was told: such a state is entered once. Within its bounds that is exhaustive.
"""

import contextlib
import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from greenlet import getcurrent, greenlet

from schemas import layout
from schemas.errors import PotstillError
from schemas.manifest import Manifest, plan_identity
from schemas.plan import CommitRecord, Plan
from schemas.strict_json import Model, parse_model
from stage1_teacher.commit import Work
from tests.reliability.campaign import Outcome, Tier
from tests.reliability.model_store import FAULTS, Gone, ModelStore, Shared, Step
from tests.reliability.small_dump import COUNTS, SETTINGS, content

PLAN = Plan(
    settings=SETTINGS,
    plan=plan_identity(SETTINGS),
    units=[(0, 16)],
    store_class="posix",
    nonce="0" * 32,
    created_by="test",
)

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


def worker(store: ModelStore, run: Run) -> None:
    """Attempts the unit once."""
    with Work(store, PLAN).attempt(0) as one:
        one.sink.write(content(0, store.worker))
        won = one.commit(COUNTS)
    if won:
        run.won.append(store.worker)


def finaliser(store: ModelStore, run: Run) -> None:
    """Tidies up, and finishes the dump when the unit has its record."""
    Work(store, PLAN).tidy()
    store.forget()
    Work(store, PLAN).finalise()


Scenario = dict[str, Program]
TWO: Scenario = {"a": worker, "b": worker}
TWO_AND_END: Scenario = {**TWO, "finaliser": finaliser}
TWO_ENDS: Scenario = {"a": worker, "finaliser": finaliser, "second": finaliser}
THREE: Scenario = {**TWO_AND_END, "c": worker}

Case = tuple[str, Scenario, Bounds]
PR: tuple[Case, ...] = (
    ("two workers, finaliser, reader", TWO_AND_END, Bounds(faults=2, deaths=1)),
    ("worker, two finalisers, reader", TWO_ENDS, Bounds(faults=0, deaths=1)),
)
NIGHTLY: tuple[Case, ...] = (
    *PR,
    ("worker, two finalisers, reader", TWO_ENDS, Bounds(faults=2, deaths=1)),
    ("three workers, finaliser, reader", THREE, Bounds(faults=1, deaths=1)),
)
CASES: dict[Tier, tuple[Case, ...]] = {"pr": PR, "nightly": NIGHTLY, "release": NIGHTLY}


def quiet() -> None:
    """Attempts that cannot remove their files say so in the log; here that is no news."""
    logging.getLogger("stage1_teacher").setLevel(logging.ERROR)


def interleavings(tier: Tier) -> Outcome:
    """Every case of the tier, exhaustively."""
    quiet()
    outcome = Outcome()
    for name, scenario, bounds in CASES[tier]:
        explore(outcome, name, scenario, bounds)
    return outcome


def explore(
    outcome: Outcome, name: str, scenario: Scenario, bounds: Bounds, most: int | None = None
) -> None:
    """Each execution is followed to its end or to a state that was entered before.

    Those with the least that goes wrong come first: a state that was entered with more still
    allowed covers those with less.
    """
    title = f"{name}, ≤ {bounds.faults} faults, ≤ {bounds.deaths} deaths"
    explorer = _Explorer(scenario, bounds)
    for found in itertools.islice(explorer.executions(), most):
        outcome.count(f"executions: {title}")
        outcome.violate(title, found)
    outcome.figures[f"states: {title}"] = len(explorer.states)


class _Explorer:
    def __init__(self, scenario: Scenario, bounds: Bounds) -> None:
        self.states: dict[int, list[tuple[int, int]]] = {}
        self._scenario = scenario
        self._bounds = bounds
        self._ends: set[int] = set()

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
            choices = list(_choices(_alone(waiting), left, taken[-1][0] if taken else ""))
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
            problems = _state_problems(run)
            if problems:
                return [f"{problem}, after {taken}" for problem in problems], branches
        else:
            problems = self._end_problems(run)
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

    def _end_problems(self, run: Run) -> list[str]:
        """What is believed is so; and an undisturbed worker can finish the dump."""
        state = hash((frozenset(run.shared.files.items()), tuple(run.won)))
        if state in self._ends:
            return run.problems
        self._ends.add(state)
        found = list(run.problems)
        record = _record(run.shared)
        if len(run.won) > 1:
            found.append(f"{run.won} all won")
        if run.won and (record is None or record.write_id != _write_id(run.won[0])):
            found.append(f"{run.won[0]} won, and its record is not there")
        return found + _recovery_problems(run.shared)


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
    """Who goes, and what goes wrong. A worker dies right after a step of its own, or never: that it
    dies later, while others go, is the same."""
    for name, (_, step) in waiting.items():
        yield name, ""
        if left[0]:
            yield from ((name, fault) for fault in FAULTS[step.kind])
        if left[1] and name == last:
            yield name, "killed"


def _count(choice: Choice, left: list[int]) -> None:
    if choice[1]:
        left[choice[1] == "killed"] -= 1


def _stop(waiting: dict[str, tuple[greenlet, Step]], run: Run) -> None:
    for name, (thread, _) in waiting.items():
        run.stores[name].dead = True
        thread.switch("killed")


def _state_problems(run: Run) -> list[str]:
    """What may never be so, not for a moment."""
    found = [f"{name} was overwritten" for name in run.shared.changed]
    strange = [n for n in run.shared.files if n != layout.PLAN and not n.startswith(WRITTEN)]
    found += [f"{name} was written, and nobody should" for name in strange]
    record, files = _record(run.shared), run.shared.files
    if record is not None:
        data = files.get(f"{layout.DATA}/{record.shard.name}")
        if data is None or len(data) != record.shard.bytes:
            found.append("the committed shard is not there")
    if layout.MANIFEST in files:
        found += _reader_problems(files)
    return found


@functools.lru_cache
def _parsed(model: type[Model], data: bytes) -> Model:
    """Asked after every step, mostly of the same bytes."""
    return parse_model(model, data, model.__name__)


def _reader_problems(files: Mapping[str, bytes]) -> list[str]:
    """A reader may come at any moment, and stay: asked after every step, it needs no turns."""
    manifest = _parsed(Manifest, files[layout.MANIFEST])
    if [shard.unit for shard in manifest.shards] != [0]:
        return ["the manifest does not name every unit once"]
    names = [f"{layout.DATA}/{shard.name}" for shard in manifest.shards]
    return [f"a reader finds no {name}" for name in names if name not in files]


def _record(shared: Shared) -> CommitRecord | None:
    data = shared.files.get(layout.record_path(0))
    return None if data is None else _parsed(CommitRecord, data)


def _recovery_problems(shared: Shared) -> list[str]:
    before = shared.files.get(layout.MANIFEST)
    after = Shared(files=dict(shared.files))
    run, store = Run(shared=after), ModelStore(after, "z", free=True)
    try:
        if before is None and _record(after) is None:
            worker(store, run)
        finaliser(store, run)
    except PotstillError as error:
        return [f"it cannot go on: {error}"]
    run.problems += _state_problems(run)
    if before is not None and after.files[layout.MANIFEST] != before:
        run.problems.append("the manifest changed")
    record = _record(after)
    shards = [name for name in after.files if name.startswith(f"{layout.DATA}/")]
    if record is None or shards != [f"{layout.DATA}/{record.shard.name}"]:
        run.problems.append(f"left over: {shards}")
    return run.problems


def _write_id(name: str) -> str:
    return name.encode().hex().ljust(16, "0")


@contextlib.contextmanager
def _names() -> Iterator[None]:
    """Random names become the worker's own, the same in every execution."""

    def token(size: int | None = None) -> str:
        return _write_id(getattr(getcurrent(), "worker", "z"))

    with mock.patch("secrets.token_hex", token):
        yield
