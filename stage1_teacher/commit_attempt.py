"""One attempt at a unit: files under names of its own, then at most one commit record."""

import logging
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO

import pyarrow as pa

from schemas import layout
from schemas.errors import DamagedError, InputError
from schemas.manifest import Shard
from schemas.plan import CommitRecord, Plan
from schemas.shard_sums import ShardCounts
from schemas.storage import NewFile, Store, as_sink, explain, explained
from schemas.value_ranges import first_problem
from stage1_teacher.commit_records import RECORDS

_log = logging.getLogger(__name__)


class Attempt:
    """A context manager; leaving it without `commit` removes the attempt's files.

    Attributes:
        unit: the unit attempted.
        name: the shard's name, unique to this attempt.
        record: the unit's record once it is known, this attempt's or the winner's.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan,
        unit: int,
        on_write: Callable[[], None] = lambda: None,
        on_commit: Callable[[CommitRecord, bool], None] = lambda record, won: None,
    ) -> None:
        self.unit = unit
        self.record: CommitRecord | None = None
        self._write_id = secrets.token_hex(8)
        self.name = layout.shard_name(unit, self._write_id)
        self._plan = plan
        self._store = store
        self._records = RECORDS[plan.store_class](store)
        self._on_write = on_write
        self._on_commit = on_commit
        self._files: dict[str, NewFile] = {}
        self._record_created = False

    @property
    def sink(self) -> BinaryIO:
        """Where the shard is written; hashed while writing."""
        return as_sink(self._file(layout.DATA))

    @property
    def hidden_sink(self) -> BinaryIO:
        """Where the hidden states are written; the file exists from its first use."""
        return as_sink(self._file(layout.HIDDEN))

    def footer(self, rows: int, tokens: int) -> dict[str, Any]:
        """What the footers of the attempt's shards repeat."""
        return {
            "format_version": self._plan.settings.format_version,
            "plan": self._plan.plan,
            "codec": self._plan.settings.codec,
            "unit": self.unit,
            "rows": rows,
            "tokens": tokens,
        }

    def check(self, table: pa.Table) -> None:
        """Checks a row group as every reader will, before it is written.

        Raises:
            DamagedError: no reader would take it.
        """
        problem = first_problem(table, self._plan.settings)
        if problem:
            raise DamagedError(
                f"the engine gave numbers that no reader would take, in unit {self.unit}: "
                f"{problem}. Nothing of this unit is kept. Try --dtype float32; if that does not "
                "help, please report it with the teacher's name."
            )

    def commit(self, counts: ShardCounts) -> bool:
        """Commits the unit: True when this attempt won it, False when another had.

        Raises:
            InputError: disk full or no permission; on a local disk nothing of the attempt is left.
            TemporaryError: the outcome is unknown, the shard is left where it is; or the file
                system failed before there was a record, and nothing is left.
        """
        try:
            for file in self._files.values():
                file.publish()
        except OSError as error:
            self.record = self._find()
            if self.record:
                return self._lost(self.record)
            raise explain(error, self.name) from error
        return self._create_record(counts)

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._record_created:
            self._discard()

    def _find(self) -> CommitRecord | None:
        with explained(self.name):
            return self._records.find(self.unit)

    def _create_record(self, counts: ShardCounts) -> bool:
        line = self._line(counts)
        record = CommitRecord(unit=self.unit, shard=line, write_id=self._write_id).sealed()
        self._record_created = True  # from here on perhaps: so the shard is not removed
        try:
            self.record = self._records.add(record)
        except InputError:
            if self._store.refusals_certain:
                self._discard()
            raise
        if self.record.write_id != self._write_id:
            return self._lost(self.record)
        self._on_commit(self.record, True)
        return True

    def _lost(self, winner: CommitRecord) -> bool:
        self._on_commit(winner, False)
        self._discard()
        return False

    def _line(self, counts: ShardCounts) -> Shard:
        data, hidden = self._files[layout.DATA], self._files.get(layout.HIDDEN)
        return Shard(
            name=self.name,
            unit=self.unit,
            rows=counts.rows,
            tokens=counts.tokens,
            positions=counts.positions,
            bytes=data.bytes,
            sha256=data.sha256,
            hidden_bytes=hidden.bytes if hidden else 0,
            hidden_sha256=hidden.sha256 if hidden else None,
            skipped=counts.skipped,
            truncated=counts.truncated,
            failed=counts.failed,
            generation=counts.generation,
            statistics=counts.statistics,
        )

    def _file(self, folder: str) -> NewFile:
        if folder not in self._files:
            name = f"{folder}/{self.name}"
            try:
                self._files[folder] = self._store.new_file(name, self._on_write)
            except OSError as error:
                raise explain(error, name) from error
        return self._files[folder]

    def _discard(self) -> None:
        """What cannot be removed now is removed when the dump is opened or finished next."""
        for file in self._files.values():
            try:
                file.discard()
            except OSError as error:
                _log.warning("%s could not be removed: %s", self.name, error.strerror)
