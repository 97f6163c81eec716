"""A dump under construction as seen from outside: plan, records, leases. Writes nothing."""

from dataclasses import dataclass
from typing import Literal

from schemas import layout
from schemas.errors import InputError
from schemas.plan import Plan
from schemas.storage import explained
from schemas.storages import open_store
from schemas.strict_json import parse_model
from stage1_teacher.commit import units_per_lease
from stage1_teacher.commit_leases import holders
from stage1_teacher.commit_records import RECORDS
from stage1_teacher.control import request_at

Condition = Literal["running", "idle", "paused", "stopped", "complete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpState:
    """One look at a dump.

    Attributes:
        condition: "idle" when no worker holds a unit; "paused" and "stopped" are what was asked
            for last.
        units: work units of the plan.
        units_done: committed ones.
        rows: rows of the corpus.
        rows_done: those of committed units.
        tokens: in committed shards.
        bytes: of them.
        failed: samples that were set aside.
        workers: those that hold units and are not known to be gone.
    """

    condition: Condition
    units: int
    units_done: int
    rows: int
    rows_done: int
    tokens: int
    bytes: int
    failed: int
    workers: int


class Watcher:
    """Looks at one dump again and again; every record is read once.

    Raises of the constructor:
        InputError: no dump was begun there.
    """

    def __init__(self, dump: str) -> None:
        self._dump = dump
        self._store = open_store(dump)
        with explained(dump):
            data = self._store.read(layout.PLAN)
        if data is None:
            raise InputError(
                f"no dump was begun at {dump}: there is no {layout.PLAN}. Give the folder that "
                "`potstill dump --out` writes to; it appears once the corpus is counted."
            )
        self._plan = parse_model(Plan, data, f"{dump}/{layout.PLAN}")
        self._records = RECORDS[self._plan.store_class](self._store)
        self._seen: set[int] = set()
        self._tokens = self._bytes = self._failed = 0

    def look(self) -> DumpState:
        """The dump as it is now.

        Raises:
            DamagedError: a record is not what potstill writes.
            TemporaryError: the store failed.
        """
        with explained(self._dump):
            complete = self._store.size(layout.MANIFEST) is not None
            self._read_new()
            workers = self._workers()
            asked = request_at(self._store)
        ranges = self._plan.units
        return DumpState(
            condition=_condition(complete, asked.verb if asked else None, workers),
            units=len(ranges),
            units_done=len(self._seen),
            rows=ranges[-1][1] if ranges else 0,
            rows_done=sum(ranges[unit][1] - ranges[unit][0] for unit in self._seen),
            tokens=self._tokens,
            bytes=self._bytes,
            failed=self._failed,
            workers=0 if complete else workers,
        )

    def _read_new(self) -> None:
        for record in self._records.read(sorted(self._records.done() - self._seen)):
            self._seen.add(record.unit)
            self._tokens += record.shard.tokens
            self._bytes += record.shard.bytes + record.shard.hidden_bytes
            self._failed += record.shard.failed

    def _workers(self) -> int:
        """Blocks that are done keep their leases, so only the others are looked at."""
        size = units_per_lease(len(self._plan.units))
        open_units = set(range(len(self._plan.units))) - self._seen
        return holders(self._store, {unit // size for unit in open_units})


def _condition(complete: bool, asked: Literal["pause", "stop"] | None, workers: int) -> Condition:
    if complete:
        return "complete"
    if asked == "pause":
        return "paused"
    if workers:
        return "running"
    return "stopped" if asked == "stop" else "idle"
