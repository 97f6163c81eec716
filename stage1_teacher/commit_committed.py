"""What of a dump is committed, as one worker knows it: units, records, and the manifest of them."""

from collections.abc import Iterable, Iterator

from schemas import layout
from schemas.errors import InputError, TemporaryError
from schemas.ledger import INLINE, read_ledger
from schemas.manifest import Manifest
from schemas.plan import CommitRecord, Plan
from schemas.storage import Store
from schemas.strict_json import parse_model
from stage1_teacher.commit_manifest import Assembled, assemble
from stage1_teacher.commit_records import RECORDS


class Committed:
    """The committed units; looks at the store only where that is said.

    Attributes:
        records: the commit records on the store.
        done: the units known to be committed.
    """

    def __init__(self, store: Store, plan: Plan) -> None:
        self.records = RECORDS[plan.store_class](store)
        self.done: set[int] = set()
        self._store = store
        self._plan = plan
        self._read: dict[int, CommitRecord] = {}
        self._mine: dict[int, CommitRecord] = {}
        self._whole: Assembled | None = None

    @property
    def rows(self) -> int:
        """Corpus rows of the units known to be done."""
        return sum(self._plan.units[unit][1] - self._plan.units[unit][0] for unit in self.done)

    def look(self) -> None:
        """Looks at the store for what is done; a store that lists less than before is not believed.

        A record never goes, while a listing that fails may look like one of an empty folder.
        """
        self.done = self.done | self.records.done()  # other threads may walk through the old one

    def has(self, unit: int) -> bool:
        """Whether a unit is done; looks at the store when it was not before."""
        if unit not in self.done and self.records.find(unit) is not None:
            self.done.add(unit)
        return unit in self.done

    def add(self, record: CommitRecord, won: bool) -> None:
        """Learns of a record; `won`: this worker created it."""
        self.done.add(record.unit)
        if won:
            self._mine[record.unit] = record

    def all(self) -> dict[int, CommitRecord]:
        """Looks, and gives the records by unit, ascending. Each is read once: they never change.

        Raises:
            InputError: the store replaced a record that it had created for this worker.
        """
        self.look()
        for record in self._checked(self.records.read(sorted(self.done - self._read.keys()))):
            self._read[record.unit] = record
        return dict(sorted(self._read.items()))

    def so_far(self) -> Assembled:
        """Looks, and gives the manifest of what is done; this worker's own records are believed."""
        if len(self._plan.units) > INLINE:
            return self._streamed()
        self.look()
        known = {**self._read, **self._mine}
        for record in self.records.read(sorted(self.done - known.keys())):
            known[record.unit] = self._read[record.unit] = record
        return assemble(self._plan, (known[u].shard for u in sorted(known)), len(known))

    def _assembled(self) -> Assembled:
        if len(self._plan.units) > INLINE:
            return self._streamed()
        found = self.all()
        return assemble(self._plan, (r.shard for r in found.values()), len(found))

    def _streamed(self) -> Assembled:
        """Of so many records none is kept."""
        self.look()
        records = self._checked(self.records.read(sorted(self.done)))
        return assemble(self._plan, (r.shard for r in records), len(self.done))

    def whole(self) -> Assembled:
        """The manifest when no unit is missing, once; what is on the store already counts.

        Raises:
            TemporaryError: the store lists fewer units than there are.
        """
        if self._whole is None:
            data = self._store.read(layout.MANIFEST)
            self._whole = self._every_unit() if data is None else self._existing(data)
        return self._whole

    def _every_unit(self) -> Assembled:
        found, units = self._assembled(), len(self._plan.units)
        if len(found.shards) != units:
            raise TemporaryError(
                f"the store now lists {len(found.shards)} of {units} units, and a moment ago it "
                "listed all. Nothing was changed. Run the same command again: it continues."
            )
        return found

    def _existing(self, data: bytes) -> Assembled:
        manifest = parse_model(Manifest, data, layout.MANIFEST)
        shards = read_ledger(manifest, self._store.read, "the dump")
        return Assembled(manifest=manifest, shards=shards, files={})

    def _checked(self, records: Iterable[CommitRecord]) -> Iterator[CommitRecord]:
        for record in records:
            mine = self._mine.get(record.unit, record)
            if self.records.decisive and mine.write_id != record.write_id:
                raise InputError(
                    f"the store replaced the record of unit {record.unit}, which it had created "
                    "for this worker: it no longer creates a file only if it is absent, as it did "
                    "when the dump was begun. Stop the other workers, have that mended, and run "
                    "the same command again: it continues."
                )
            yield record
