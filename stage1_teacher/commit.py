"""The commit protocol of a dump: what is missing, who computes it, when it is done.

A unit becomes one shard or nothing. Shards have names unique to the attempt, are never overwritten
and mean nothing by existing; a unit is committed by one small record that is created only if it is
absent (commit_attempt.py), and every list of shards is derived from the records. manifest.json is a
pure function of plan and records, created last, so two finalisers write the same bytes.

A worker's loop:

    work = open_work(path, settings, units, created_by="potstill 0.1.0")
    for unit in work.units():
        start, end = work.plan.units[unit]
        with work.attempt(unit) as attempt:              # leaving without commit leaves no files
            sums = write_unit(attempt, ...)              # attempt.sink, attempt.hidden_sink
            attempt.commit(sums.counts(skipped=0, truncated=0))
    work.publish("README.md", card(work.manifest()))
    manifest = work.finalise()
"""

import secrets
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path

from schemas import layout
from schemas.errors import ConflictError
from schemas.ledger import INLINE
from schemas.manifest import Manifest, Setting, Settings, Shard
from schemas.plan import CommitRecord, Plan, RowRange
from schemas.progress import Progress, Report, ignore
from schemas.storage import Store, explained
from schemas.storages import open_store
from stage1_teacher.commit_attempt import Attempt
from stage1_teacher.commit_committed import Committed
from stage1_teacher.commit_final import Finaliser
from stage1_teacher.commit_leases import Leases
from stage1_teacher.commit_plan import Origin, agree_on_plan
from stage1_teacher.commit_share import Share

__all__ = ["Attempt", "Share", "Work", "open_work"]

BLOCKS = 64
MOST_BLOCK_UNITS = 64
"""A lease is of a 64th of the units, rounded up, but of at most 64: every worker finds some, and at
the end none waits long for another's."""

_FIRST_SNAPSHOT = 64
_POLL_SECONDS = 1.0
_SHOWN = 8

_told = explained("the dump")


def open_work(
    path: str | Path,
    settings: Settings,
    units: Sequence[RowRange],
    *,
    created_by: str,
    engine_options: Mapping[str, Setting] | None = None,
    store: Store | None = None,
) -> "Work":
    """Joins the dump at `path`, creating its plan if nobody has.

    Args:
        path: a local folder, created when absent, or the URL of a place in a bucket.
        settings: everything that decides the numbers.
        units: half-open ranges of corpus rows, one per unit, without gaps.
        created_by: program and version, e.g. "potstill 0.1.0".
        engine_options: settings of the engine that decide no numbers; kept by whoever is first.
        store: where the dump is, if not at `path` itself.

    Raises:
        ConflictError: the dump there has other settings; every differing field is shown.
        FormatError: the folder holds something else, or a dump of an unknown version.
        InputError: no permission, or disk full.
        TemporaryError: the store failed.
    """
    store = store or open_store(path)
    with explained(path):
        origin = Origin(created_by=created_by, engine_options=engine_options or {})
        plan = agree_on_plan(store, path, settings, units, origin)
        work = Work(store, plan)
        work.tidy()
    return work


def units_per_lease(units: int) -> int:
    """How many units one lease covers in a dump of so many."""
    return min(max(1, -(-units // BLOCKS)), MOST_BLOCK_UNITS)


class Work:
    """A dump under construction, as one worker sees it.

    Attributes:
        plan: settings, units and identity, the same for every worker.
        share: the units that are this worker's own, all of them unless it is set.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.plan = plan
        self.share = Share()
        self._store = store
        self._committed = Committed(store, plan)
        self._leases = Leases(store, secrets.token_hex(8), clock)
        self._next_snapshot = 0
        self._sleep = sleep
        self._block_units = units_per_lease(len(plan.units))

    @property
    @_told
    def complete(self) -> bool:
        """Whether manifest.json exists: nothing is left to do, not even `finalise`."""
        return self._store.size(layout.MANIFEST) is not None

    @property
    def rows_done(self) -> int:
        """Corpus rows of the units that this worker knows to be done; asks the store nothing."""
        return self._committed.rows

    @_told
    def committed(self) -> dict[int, CommitRecord]:
        """The records so far, by unit, ascending; each is read once.

        Raises:
            InputError: the store replaced a record that it had created for this worker.
        """
        return self._committed.all()

    @_told
    def missing(self) -> list[int]:
        """Units without a record, ascending; none when the dump is complete."""
        if self.complete:
            return []
        self._committed.look()
        return [u for u in range(len(self.plan.units)) if u not in self._committed.done]

    @_told
    def tidy(self) -> None:
        """Removes what lost, where that is certain already; safe beside live workers."""
        self._committed.look()
        self._finaliser().clean()

    def units(self, report: Report = ignore) -> Generator[int, None, None]:
        """Yields units to compute until none is missing; each is to be attempted.

        Waits while other workers hold the last ones, and says so once. Where no store decides who
        was first, yields the units of this worker's own share.
        """
        if not self._committed.records.decisive:
            return self._own_units(report)
        return self._leased_units(report)

    def _own_units(self, report: Report) -> Generator[int, None, None]:
        """The share's units; then waits: the first worker for the others, they for its manifest."""
        report(_alone(self.share))
        yield from self.share.of(self.missing())
        told = False
        while (missing := self.missing()) or not (self.share.finishes or self.complete):
            if not told:
                report(_waiting(len(missing)))
                told = True
            self._sleep(_POLL_SECONDS)

    def _leased_units(self, report: Report) -> Generator[int, None, None]:
        told = False
        try:
            while missing := self.missing():
                taken = 0
                for block, units in self._blocks(missing).items():
                    if not self._leases.take(block):
                        if taken:
                            break  # others are at work: look again at what is missing
                        continue
                    taken += 1
                    yield from self._untouched(block, units)
                    self._leases.finished(block)
                    self._grow()
                if not taken and not told:
                    report(_waiting(len(missing)))
                    told = True
                if not taken:
                    self._sleep(_POLL_SECONDS)
        finally:
            self._leases.release()

    @_told
    def is_done(self, unit: int) -> bool:
        """Whether a unit has its record; looks at the store when it was not known before."""
        return self._committed.has(unit)

    def attempt(self, unit: int) -> Attempt:
        """One attempt at a unit: a context manager."""
        return Attempt(self._store, self.plan, unit, self._leases.renew, self._committed.add)

    @_told
    def publish(self, name: str, data: bytes) -> None:
        """Writes a companion file (README.md, tokenizer/…, preview/…): whole or not at all."""
        try:
            self._store.replace(name, data)
        except FileNotFoundError:  # another worker, who was done, tidied up meanwhile
            self._store.replace(name, data)

    @_told
    def manifest(self) -> Manifest:
        """What manifest.json will be.

        Raises:
            ConflictError: units are missing.
        """
        missing = self.missing()
        if missing:
            shown = ", ".join(map(str, missing[:_SHOWN])) + ("…" if len(missing) > _SHOWN else "")
            raise ConflictError(
                f"{len(missing)} of {len(self.plan.units)} units are missing ({shown}). Run the "
                "same command again: it continues."
            )
        return self._committed.whole().manifest

    @_told
    def shards(self) -> Sequence[Shard]:
        """The ledger of that manifest, which lists them itself only where they are few."""
        return self._committed.whole().shards

    @_told
    def snapshot(self) -> Manifest:
        """Adds a ledger version of the units so far: what a reader of a growing dump sees."""
        assembled = self._committed.so_far()
        self._finaliser().snapshot(assembled)
        return assembled.manifest

    @_told
    def finalise(self) -> Manifest:
        """Removes what lost, then creates manifest.json: the dump is complete and frozen.

        Raises:
            ConflictError: units are missing, or another manifest is there.
            DamagedError: a committed shard is not there with its size.
            InputError: disk full or no permission.
            TemporaryError: the file system failed.
        """
        manifest = self.manifest()
        if self._store.size(layout.MANIFEST) is None:
            manifest = self._finaliser().finish(self._committed.whole())
        self._finaliser().clean_work()
        return manifest

    def _finaliser(self) -> Finaliser:
        found = self._committed
        return Finaliser(store=self._store, plan=self.plan, records=found.records, done=found.done)

    def _untouched(self, block: int, units: Sequence[int]) -> Iterator[int]:
        """The units that nobody did since they were seen to be missing."""
        if self._leases.first(block):
            yield from units
        else:
            yield from (unit for unit in units if not self.is_done(unit))

    def _grow(self) -> None:
        """Adds a ledger version now and then, ever more rarely: all together stay cheap."""
        done = len(self._committed.done)
        if done < self._next_snapshot:
            return
        if self._next_snapshot:
            self.snapshot()
        long = len(self.plan.units) > INLINE  # then every version reads all records again
        self._next_snapshot = max(_FIRST_SNAPSHOT, done * 2 if long else done * 5 // 4)

    def _blocks(self, missing: Sequence[int]) -> dict[int, list[int]]:
        """Units by lease, those of this worker's own share first."""
        blocks: dict[int, list[int]] = {}
        for unit in missing:
            blocks.setdefault(unit // self._block_units, []).append(unit)
        return {block: blocks[block] for block in self.share.first(list(blocks))}


def _alone(share: Share) -> Progress:
    return Progress(
        stage="dump",
        message="this store cannot create a file only if it is absent: this worker computes share "
        f"{share.number}/{share.count} of the units; start the others with --worker, one each",
    )


def _waiting(missing: int) -> Progress:
    return Progress(
        stage="dump",
        message=f"waiting for other workers, who hold the last {missing} units"
        if missing
        else "waiting for the first worker, who finishes the dump",
    )
