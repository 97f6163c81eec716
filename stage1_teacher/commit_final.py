"""The end of a dump: the manifest as a pure function, and the removal of what lost."""

from collections.abc import Iterator, Mapping

from schemas import layout
from schemas.alignment import merged_alignment
from schemas.errors import DamagedError
from schemas.manifest import Manifest, Settings, manifest_identity
from schemas.plan import CommitRecord, Plan
from schemas.storage import Store
from schemas.storage_posix import intended_name

_NO_HASH = "sha256:" + "0" * 64


def build_manifest(plan: Plan, records: Mapping[int, CommitRecord]) -> Manifest:
    """manifest.json of the units in `records`: depends on nothing else, so all agree on it."""
    shards = [records[unit].shard for unit in sorted(records)]
    manifest = Manifest(
        **{name: getattr(plan.settings, name) for name in Settings.model_fields},
        created_by=plan.created_by,
        engine_options=plan.engine_options,
        plan=plan.plan,
        identity=_NO_HASH,
        shards=shards,
        alignment=merged_alignment([shard.statistics.alignment for shard in shards]),
    )
    return manifest.model_copy(update={"identity": manifest_identity(manifest)})


def check_shards(store: Store, records: Mapping[int, CommitRecord]) -> None:
    """Checks that every committed shard is there with its size.

    Raises:
        DamagedError: names the shard, and the record to remove so that it is computed again.
    """
    for unit, record in records.items():
        for name, size in committed_files(record):
            found = store.size(name)
            if found != size:
                raise DamagedError(
                    f"{name} should have {size:,} bytes; found "
                    f"{'nothing' if found is None else f'{found:,}'}. Something outside potstill "
                    f"changed it. Remove {layout.record_path(unit)} in the dump and run the same "
                    "command again: the unit is computed anew."
                )


def committed_files(record: CommitRecord) -> Iterator[tuple[str, int]]:
    """Names and sizes of the files that a record stands for."""
    yield f"{layout.DATA}/{record.shard.name}", record.shard.bytes
    if record.shard.hidden_sha256 is not None:
        yield f"{layout.HIDDEN}/{record.shard.name}", record.shard.hidden_bytes


def clean(store: Store, records: Mapping[int, CommitRecord]) -> None:
    """Removes what lost: files of committed units that their record does not name.

    Safe at any time beside live workers. The unit has its record, so another attempt at it can only
    lose: it would remove these files itself, and notices when they are gone. Files of units without
    a record are never touched, since their worker may be alive.
    """
    for folder in (layout.DATA, layout.HIDDEN):
        for name in store.names(folder):
            match = layout.SHARD_NAME.match(intended_name(name) or name)
            record = records.get(int(match["unit"])) if match else None
            if record and name != record.shard.name:
                store.remove(f"{folder}/{name}")
    for folder in store.names(layout.COMMITS):
        for name in store.names(f"{layout.COMMITS}/{folder}"):
            match = layout.RECORD_NAME.match(intended_name(name) or "")
            if match and int(match["unit"]) in records:
                store.remove(f"{layout.COMMITS}/{folder}/{name}")


def clean_work(store: Store) -> None:
    """Removes leases, probes and half-written companion files; for a complete dump only."""
    for folder in (layout.LEASES, layout.PROBES):
        for name in store.names(folder):
            store.remove(f"{folder}/{name}")
    for folder in ("", layout.WORK, layout.LEDGER, layout.TOKENIZER, layout.PREVIEW):
        for name in store.names(folder):
            if intended_name(name):
                store.remove(f"{folder}/{name}".lstrip("/"))
