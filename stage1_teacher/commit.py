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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from schemas import layout
from schemas.errors import ConflictError
from schemas.manifest import Manifest, Setting, Settings
from schemas.plan import CommitRecord, Plan, RowRange
from schemas.progress import Progress, Report, ignore
from schemas.storage import Store, create_settled, explained
from schemas.storage_posix import PosixStore
from schemas.strict_json import json_bytes, parse_model
from stage1_teacher.commit_attempt import Attempt
from stage1_teacher.commit_final import build_manifest, check_shards, clean, clean_work
from stage1_teacher.commit_leases import Leases
from stage1_teacher.commit_plan import Origin, agree_on_plan

__all__ = ["Attempt", "Work", "open_work"]

BLOCK_UNITS = 64
"""Units per lease in large dumps; small ones lease unit by unit, so that every worker has some."""

_SMALL = 4096
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
        path: a local folder; created when absent.
        settings: everything that decides the numbers.
        units: half-open ranges of corpus rows, one per unit, without gaps.
        created_by: program and version, e.g. "potstill 0.1.0".
        engine_options: settings of the engine that decide no numbers; kept by whoever is first.
        store: where the dump is, if not in the folder `path` itself.

    Raises:
        ConflictError: the dump there has other settings; every differing field is shown.
        FormatError: the folder holds something else, or a dump of an unknown version.
        InputError: no permission, disk full, or a store that cannot create only if absent.
    """
    store = store or PosixStore(path)
    with explained(path):
        origin = Origin(created_by=created_by, engine_options=engine_options or {})
        work = Work(store, agree_on_plan(store, path, settings, units, origin))
        clean(store, work.committed())
    return work


class Work:
    """A dump under construction, as one worker sees it.

    Attributes:
        plan: settings, units and identity, the same for every worker.
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
        self._store = store
        self._records: dict[int, CommitRecord] = {}
        self._leases = Leases(store, secrets.token_hex(8), clock)
        self._sleep = sleep
        self._block_units = 1 if len(plan.units) <= _SMALL else BLOCK_UNITS

    @property
    @_told
    def complete(self) -> bool:
        """Whether manifest.json exists: nothing is left to do, not even `finalise`."""
        return self._store.size(layout.MANIFEST) is not None

    @_told
    def committed(self) -> dict[int, CommitRecord]:
        """The records so far, by unit, ascending."""
        for folder in self._store.names(layout.COMMITS):
            for name in self._store.names(f"{layout.COMMITS}/{folder}"):
                match = layout.RECORD_NAME.match(name)
                if match and int(match["unit"]) not in self._records:
                    self._read_record(f"{layout.COMMITS}/{folder}/{name}")
        return dict(sorted(self._records.items()))

    def missing(self) -> list[int]:
        """Units without a record, ascending; none when the dump is complete."""
        if self.complete:
            return []
        done = self.committed()
        return [unit for unit in range(len(self.plan.units)) if unit not in done]

    def units(self, report: Report = ignore) -> Iterator[int]:
        """Yields units to compute until none is missing; each is to be attempted.

        Waits while other workers hold the last ones, and says so once.
        """
        told = False
        try:
            while missing := self.missing():
                mine = next((b for b in self._blocks(missing) if self._leases.take(b)), None)
                if mine is not None:
                    yield from (u for u in self._blocks(missing)[mine] if not self._done(u))
                    continue
                if not told:
                    report(_waiting(len(missing)))
                    told = True
                self._sleep(_POLL_SECONDS)
        finally:
            self._leases.release()

    def attempt(self, unit: int) -> Attempt:
        """One attempt at a unit: a context manager."""
        return Attempt(self._store, self.plan, unit, self._leases.renew)

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
        existing = self._store.read(layout.MANIFEST)
        if existing is not None:
            return parse_model(Manifest, existing, layout.MANIFEST)
        return build_manifest(self.plan, self.committed())

    @_told
    def snapshot(self) -> Manifest:
        """Adds a ledger version of the units so far: what a reader of a growing dump sees."""
        records = self.committed()
        manifest = build_manifest(self.plan, records)
        found = create_settled(self._store, layout.ledger_path(len(records)), json_bytes(manifest))
        return parse_model(Manifest, found, layout.ledger_path(len(records)))

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
        if not self.complete:
            check_shards(self._store, self._records)
            clean(self._store, self._records)
            found = create_settled(self._store, layout.MANIFEST, json_bytes(manifest))
            if parse_model(Manifest, found, layout.MANIFEST) != manifest:
                raise ConflictError(
                    "another manifest.json appeared while this dump was being finished, and it "
                    "differs. Look at `potstill verify`, and at who else writes there."
                )
        clean_work(self._store)
        return manifest

    def _blocks(self, missing: Sequence[int]) -> dict[int, list[int]]:
        blocks: dict[int, list[int]] = {}
        for unit in missing:
            blocks.setdefault(unit // self._block_units, []).append(unit)
        return blocks

    @_told
    def _done(self, unit: int) -> bool:
        return self._store.size(layout.record_path(unit)) is not None

    def _read_record(self, path: str) -> None:
        data = self._store.read(path)
        if data is not None:
            record = parse_model(CommitRecord, data, path)
            self._records[record.unit] = record


def _waiting(missing: int) -> Progress:
    return Progress(
        stage="dump",
        message=f"waiting for other workers, who hold the last {missing} units",
    )
