"""The end of a dump: checking what is there, removing what lost, creating manifest.json."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from operator import eq

from schemas import layout
from schemas.errors import ConflictError, DamagedError
from schemas.ledger import INLINE, read_ledger
from schemas.manifest import Manifest, Shard
from schemas.plan import Plan
from schemas.storage import Store, create_settled, replace_settled
from schemas.storage_posix import intended_name
from schemas.strict_json import json_bytes, parse_model
from stage1_teacher.commit_manifest import Assembled
from stage1_teacher.commit_records import Records


@dataclass(frozen=True, slots=True, kw_only=True)
class Finaliser:
    """What one worker does to a dump whose units are done.

    Attributes:
        store: where the dump is.
        plan: its plan.
        records: its commit records.
        done: the units that have one.
    """

    store: Store
    plan: Plan
    records: Records
    done: AbstractSet[int]

    def snapshot(self, assembled: Assembled) -> None:
        """Adds a ledger version: the manifest of the units so far, unless it is there."""
        self._write_ledger(assembled)
        self._settle(layout.ledger_path(len(assembled.shards)), json_bytes(assembled.manifest))

    def finish(self, assembled: Assembled) -> Manifest:
        """Checks that every shard is there, removes what lost, and creates manifest.json.

        Gives the manifest that is there in the end; another worker's may list the same shards in
        files that another version of Parquet wrote.

        Raises:
            ConflictError: another manifest is there.
            DamagedError: a committed shard is not there with its size.
            PotstillError: the store failed.
        """
        self._check_shards(assembled.shards)
        self.clean()
        self._write_ledger(assembled)
        data = self._settle(layout.MANIFEST, json_bytes(assembled.manifest))
        found = parse_model(Manifest, data, layout.MANIFEST)
        if not self._same(found, assembled):
            raise ConflictError(
                "another manifest.json appeared while this dump was being finished, and it "
                "differs. Look at `potstill verify`, and at who else writes there."
            )
        if not self.records.decisive:
            self._remove_others({shard.unit: shard.name for shard in assembled.shards})
        self._remove_old_ledgers(found)
        return found

    def clean(self) -> None:
        """Removes what lost: files of committed units that their record does not name.

        Safe at any time beside live workers. The unit has its record, so another attempt at it can
        only lose: it would remove these files itself, and notices when they are gone. Files of
        units without a record are never touched, since their worker may be alive; and none at all
        where a record does not yet decide.
        """
        if not self.records.decisive:
            return
        contested = sorted(unit for unit, count in self._files().items() if count > 1)
        if contested:
            self._remove_others({r.unit: r.shard.name for r in self.records.read(contested)})
        if self.plan.store_class != "conditional":  # there, nothing is ever half-written
            self._remove_temporary_records()

    def clean_work(self) -> None:
        """Removes leases, probes and half-written companion files; for a complete dump only."""
        for folder in (layout.LEASES, layout.PROBES):
            self.store.remove(*(f"{folder}/{name}" for name in self.store.names(folder)))
        if self.plan.store_class == "conditional":
            return
        companions = (layout.TOKENIZER, layout.PREVIEW, layout.GOLD)
        for folder in ("", layout.WORK, layout.LEDGER, *companions):
            for name in self.store.names(folder):
                if intended_name(name):
                    self.store.remove(f"{folder}/{name}".lstrip("/"))

    def _settle(self, name: str, data: bytes) -> bytes:
        settle = create_settled if self.records.decisive else replace_settled
        return settle(self.store, name, data)

    def _write_ledger(self, assembled: Assembled) -> None:
        for name, data in assembled.files.items():
            create_settled(self.store, layout.ledger_part(name), data)

    def _same(self, found: Manifest, assembled: Assembled) -> bool:
        mine = assembled.manifest
        if found == mine:
            return True
        parts = {"ledger": mine.ledger, "identity": mine.identity}
        if mine.ledger is None or found.model_copy(update=parts) != mine:
            return False
        theirs = read_ledger(found, self.store.read, "the dump")
        return len(theirs) == len(assembled.shards) and all(map(eq, theirs, assembled.shards))

    def _remove_old_ledgers(self, manifest: Manifest) -> None:
        """Removes what snapshots listed; by now everybody reads manifest.json."""
        kept = {part.name for part in manifest.ledger or []}
        names = self.store.names(layout.LEDGER_PARTS) if self._many() else []
        self.store.remove(*(layout.ledger_part(name) for name in names if name not in kept))

    def _many(self) -> bool:
        return len(self.plan.units) > INLINE

    def _check_shards(self, shards: Sequence[Shard]) -> None:
        for folder, sizes in _expected(shards).items():
            found = self.store.sizes(folder) if sizes else {}
            for name, (unit, size) in sizes.items():
                if found.get(name) != size:
                    raise _misfit(f"{folder}/{name}", unit, size, found.get(name))

    def _files(self) -> dict[int, int]:
        """How many files the fullest folder has of each unit that is done."""
        most: dict[int, int] = {}
        for folder in (layout.DATA, layout.HIDDEN):
            counts: dict[int, int] = {}
            for unit, _ in self._shard_names(folder):
                counts[unit] = counts.get(unit, 0) + 1
            most = {unit: max(most.get(unit, 0), counts.get(unit, 0)) for unit in most | counts}
        return most

    def _remove_others(self, winners: Mapping[int, str]) -> None:
        for folder in (layout.DATA, layout.HIDDEN):
            names = list(self._shard_names(folder))
            lost = [name for unit, name in names if winners.get(unit, name) != name]
            self.store.remove(*(f"{folder}/{name}" for name in lost))

    def _shard_names(self, folder: str) -> Iterator[tuple[int, str]]:
        """Names of shards, half-written ones included, of the units that are done."""
        for name in self.store.names(folder):
            match = layout.SHARD_NAME.match(intended_name(name) or name)
            if match and int(match["unit"]) in self.done:
                yield int(match["unit"]), name

    def _remove_temporary_records(self) -> None:
        for name in self.store.names_below(layout.COMMITS):
            match = layout.RECORD_NAME.match(intended_name(name.partition("/")[2]) or "")
            if match and int(match["unit"]) in self.done:
                self.store.remove(f"{layout.COMMITS}/{name}")


def _expected(shards: Sequence[Shard]) -> dict[str, dict[str, tuple[int, int]]]:
    """By folder and name: the unit and the size of every file that a ledger stands for."""
    expected: dict[str, dict[str, tuple[int, int]]] = {layout.DATA: {}, layout.HIDDEN: {}}
    for shard in shards:
        expected[layout.DATA][shard.name] = (shard.unit, shard.bytes)
        if shard.hidden_sha256 is not None:
            expected[layout.HIDDEN][shard.name] = (shard.unit, shard.hidden_bytes)
    return expected


def _misfit(name: str, unit: int, size: int, found: int | None) -> DamagedError:
    return DamagedError(
        f"{name} should have {size:,} bytes; found {'nothing' if found is None else f'{found:,}'}. "
        f"Something outside potstill changed it. Remove {layout.record_path(unit)} in the dump and "
        "run the same command again: the unit is computed anew."
    )
