"""The records by which units are done: how they are created, found and read.

Two kinds, by what the store was seen to do. Where a name is created only if it is absent, a unit
has one record, and creating it decides who won. Elsewhere every attempt has a record of its own,
under a name that nobody else uses; whoever finishes the dump settles which of them counts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from schemas import layout
from schemas.errors import DamagedError, TemporaryError
from schemas.plan import CommitRecord
from schemas.storage import Store, create_settled, replace_settled
from schemas.strict_json import json_bytes, parse_model


class Records(Protocol):
    """The records of a dump.

    Attributes:
        decisive: whether a record once there is the unit's for ever, so that what lost may go.
    """

    decisive: bool

    def done(self) -> set[int]:
        """The units that have a record, by one look at the store."""
        ...

    def read(self, units: Sequence[int]) -> Iterator[CommitRecord]:
        """The records of units that have one, in that order.

        Raises:
            TemporaryError: one was listed and is not found: without it the dump would lack a unit.
        """
        ...

    def find(self, unit: int) -> CommitRecord | None:
        """The record of a unit, or None."""
        ...

    def add(self, record: CommitRecord) -> CommitRecord:
        """Commits a unit; gives the record that counts in the end, perhaps another's.

        Raises:
            InputError: certainly not committed, and trying again is pointless.
            TemporaryError: the outcome is unknown.
        """
        ...


class UnitRecords:
    """One record per unit, created only if absent."""

    decisive = True

    def __init__(self, store: Store) -> None:
        self._store = store

    def done(self) -> set[int]:
        """See Records."""
        names = (name.partition("/")[2] for name in self._store.names_below(layout.COMMITS))
        matches = map(layout.RECORD_NAME.match, names)
        return {int(match["unit"]) for match in matches if match}

    def read(self, units: Sequence[int]) -> Iterator[CommitRecord]:
        """See Records."""
        paths = [layout.record_path(unit) for unit in units]
        for path, data in zip(paths, self._store.read_many(paths), strict=True):
            yield _listed(data, path)

    def find(self, unit: int) -> CommitRecord | None:
        """See Records."""
        path = layout.record_path(unit)
        data = self._store.read(path)
        return None if data is None else _parse(data, path)

    def add(self, record: CommitRecord) -> CommitRecord:
        """See Records."""
        path = layout.record_path(record.unit)
        found = create_settled(self._store, path, json_bytes(record))
        return _parse(found, path)


class AttemptRecords:
    """One record per attempt; of several for a unit, the one with the lowest `write_id` counts."""

    decisive = False

    def __init__(self, store: Store) -> None:
        self._store = store

    def done(self) -> set[int]:
        """See Records."""
        return set(self._names(self._store.names_below(layout.ATTEMPTS)))

    def read(self, units: Sequence[int]) -> Iterator[CommitRecord]:
        """See Records."""
        names = self._names(self._store.names_below(layout.ATTEMPTS))
        paths = [f"{layout.ATTEMPTS}/{names.get(unit, f'{unit:06d}')}" for unit in units]
        for path, data in zip(paths, self._store.read_many(paths), strict=True):
            yield _listed(data, path)

    def find(self, unit: int) -> CommitRecord | None:
        """See Records."""
        folder = f"{unit % 256:02x}"
        below = self._store.names(f"{layout.ATTEMPTS}/{folder}")
        name = self._names(f"{folder}/{name}" for name in below).get(unit)
        data = self._store.read(f"{layout.ATTEMPTS}/{name}") if name else None
        return _parse(data, str(name)) if data is not None else None

    def add(self, record: CommitRecord) -> CommitRecord:
        """See Records."""
        path = layout.attempt_path(record.unit, record.write_id)
        found = replace_settled(self._store, path, json_bytes(record))
        return _parse(found, path)

    def _names(self, below: Iterable[str]) -> dict[int, str]:
        """The name that counts, by unit."""
        names: dict[int, str] = {}
        for name in sorted(below, reverse=True):
            match = layout.ATTEMPT_NAME.match(name.partition("/")[2])
            if match:
                names[int(match["unit"])] = name
        return names


def _listed(data: bytes | None, path: str) -> CommitRecord:
    if data is None:
        raise TemporaryError(
            f"{path} was there a moment ago, and the store finds it no longer. Nothing was "
            "changed. Run the same command again: it continues."
        )
    return _parse(data, path)


def _parse(data: bytes, path: str) -> CommitRecord:
    try:
        return parse_model(CommitRecord, data, path)
    except DamagedError as error:
        raise DamagedError(
            f"{error} Or remove it from the dump and run the same command again: the unit is "
            "computed anew."
        ) from error


RECORDS: dict[str, Callable[[Store], Records]] = {
    "posix": UnitRecords,
    "conditional": UnitRecords,
    "create-if-absent": UnitRecords,
    "neither": AttemptRecords,
}
"""By the plan's `store_class`."""
