"""The end of a dump: the manifest as a pure function, and the removal of what lost."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from schemas import layout
from schemas.alignment import merged_alignment
from schemas.errors import ConflictError, DamagedError
from schemas.manifest import Manifest, Settings, Shard, manifest_identity
from schemas.plan import Plan
from schemas.storage import Store, create_settled, replace_settled
from schemas.storage_posix import intended_name
from schemas.strict_json import json_bytes, parse_model
from stage1_teacher.commit_records import Records

_NO_HASH = "sha256:" + "0" * 64


def build_manifest(plan: Plan, shards: Iterable[Shard]) -> Manifest:
    """manifest.json of some shards: depends on nothing else, so all agree on it."""
    ascending = sorted(shards, key=lambda shard: shard.unit)
    manifest = Manifest(
        **{name: getattr(plan.settings, name) for name in Settings.model_fields},
        created_by=plan.created_by,
        engine_options=plan.engine_options,
        plan=plan.plan,
        identity=_NO_HASH,
        shards=ascending,
        alignment=merged_alignment([shard.statistics.alignment for shard in ascending]),
    )
    return manifest.model_copy(update={"identity": manifest_identity(manifest)})


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

    def snapshot(self, manifest: Manifest) -> Manifest:
        """Adds a ledger version: the manifest of the units so far, unless it is there."""
        path = layout.ledger_path(len(manifest.shards))
        return parse_model(Manifest, self._settle(path, json_bytes(manifest)), path)

    def finish(self, manifest: Manifest) -> None:
        """Checks that every shard is there, removes what lost, and creates manifest.json.

        Raises:
            ConflictError: another manifest is there.
            DamagedError: a committed shard is not there with its size.
            PotstillError: the store failed.
        """
        self._check_shards(manifest)
        self.clean()
        found = self._settle(layout.MANIFEST, json_bytes(manifest))
        if parse_model(Manifest, found, layout.MANIFEST) != manifest:
            raise ConflictError(
                "another manifest.json appeared while this dump was being finished, and it "
                "differs. Look at `potstill verify`, and at who else writes there."
            )
        if not self.records.decisive:
            self._remove_others({shard.unit: shard.name for shard in manifest.shards})

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

    def _check_shards(self, manifest: Manifest) -> None:
        for folder, sizes in _expected(manifest).items():
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


def _expected(manifest: Manifest) -> dict[str, dict[str, tuple[int, int]]]:
    """By folder and name: the unit and the size of every file that a manifest stands for."""
    expected: dict[str, dict[str, tuple[int, int]]] = {layout.DATA: {}, layout.HIDDEN: {}}
    for shard in manifest.shards:
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
