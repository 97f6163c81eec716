"""All orders in which workers can meet, with faults of the store and deaths in between.

The real workers run against a store in memory; each of their operations is one step. After every
step the explorer branches over who goes next and what goes wrong; within its bounds that is
exhaustive.
"""

import functools
import itertools
import logging
from collections.abc import Mapping

from schemas import layout
from schemas.errors import PotstillError
from schemas.manifest import Manifest, plan_identity
from schemas.plan import CommitRecord, Plan
from schemas.strict_json import Model, parse_model
from stage1_teacher.commit import Work
from tests.reliability.campaign import Outcome, Tier
from tests.reliability.explorer import WRITTEN, Bounds, Checks, Explorer, Run, Scenario, write_id
from tests.reliability.model_store import ModelStore, Shared
from tests.reliability.small_dump import COUNTS, SETTINGS, content

PLAN = Plan(
    settings=SETTINGS,
    plan=plan_identity(SETTINGS),
    units=[(0, 16)],
    store_class="posix",
    nonce="0" * 32,
    created_by="test",
)


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
    checks = Checks(after_a_step=_state_problems, at_the_end=_Ends().problems)
    explorer = Explorer(scenario, bounds, checks)
    for found in itertools.islice(explorer.executions(), most):
        outcome.count(f"executions: {title}")
        outcome.violate(title, found)
    outcome.figures[f"states: {title}"] = len(explorer.states)


class _Ends:
    """What is believed at the end is so, and an undisturbed worker can finish the dump.

    Ends that are the same are looked at once.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def problems(self, run: Run) -> list[str]:
        """What does not hold."""
        state = hash((frozenset(run.shared.files.items()), tuple(run.won)))
        if state in self._seen:
            return run.problems
        self._seen.add(state)
        found = list(run.problems)
        record = _record(run.shared)
        if len(run.won) > 1:
            found.append(f"{run.won} all won")
        if run.won and (record is None or record.write_id != write_id(run.won[0])):
            found.append(f"{run.won[0]} won, and its record is not there")
        return found + _recovery_problems(run.shared)


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
