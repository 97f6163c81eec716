"""Joining a dump while it is being finished; leases where the store keeps none; sealed files."""

import errno
import os
from pathlib import Path

import pytest

from schemas import layout
from schemas.errors import DamagedError, InputError, TemporaryError
from schemas.plan import CommitRecord, Plan
from schemas.storage_posix import PosixStore
from schemas.strict_json import json_bytes, parse_model
from tests.reliability.small_dump import attempt, finish, join


class FinishedMeanwhile(PosixStore):
    """Another worker finishes the dump, and tidies up, after this one's first probe."""

    def create(self, name: str, data: bytes) -> bool:
        created = super().create(name, data)
        if name.startswith(layout.PROBES) and not (self.root / layout.MANIFEST).exists():
            finish(self.root)
        return created


def test_a_probe_that_was_tidied_away_says_nothing_of_the_store(tmp_path: Path) -> None:
    work = join(tmp_path / "d", store=FinishedMeanwhile(tmp_path / "d"))
    assert work.complete and work.plan.store_class == "posix"
    plan = parse_model(Plan, (tmp_path / "d" / layout.PLAN).read_bytes(), layout.PLAN)
    assert plan.store_class == "posix", "the plan of the finished dump was not replaced"


class NoLeases(PosixStore):
    """A disk that is full as soon as a lease is wanted."""

    def create(self, name: str, data: bytes) -> bool:
        if name.startswith(layout.LEASES):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(name, data)


class Full(NoLeases):
    """Nothing fits any more."""

    def new_file(self, name, on_write=lambda: None):  # type: ignore[no-untyped-def]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_work_goes_on_without_leases_and_ends_in_words_when_nothing_fits(tmp_path: Path) -> None:
    work = join(tmp_path / "d", store=NoLeases(tmp_path / "d"))
    units = work.units()
    assert attempt(work, next(units), "a")
    full = join(tmp_path / "d", store=Full(tmp_path / "d"))
    with pytest.raises(InputError, match="no space left"):
        attempt(full, next(full.units()), "b")


@pytest.mark.parametrize("name", [layout.PLAN, layout.record_path(0)])
def test_a_changed_letter_is_noticed(tmp_path: Path, name: str) -> None:
    finish(tmp_path / "d")
    model = Plan if name == layout.PLAN else CommitRecord
    data = (tmp_path / "d" / name).read_bytes()
    found = parse_model(model, data, name)
    assert found.checksum is not None
    changed = data.replace(b'"rows": 8', b'"rows": 9').replace(b'"test"', b'"tesu"')
    assert changed != data
    with pytest.raises(DamagedError, match="does not hash to its checksum"):
        parse_model(model, changed, name)
    older = json_bytes(found.model_copy(update={"checksum": None}))
    assert parse_model(model, older, name).checksum is None, "files from before it are read"


class Forgetting(PosixStore):
    """Lists every record, and does not find the first when it is read: a 404 that is not true."""

    def read(self, name: str) -> bytes | None:
        return None if name == layout.record_path(0) else super().read(name)

    def read_many(self, names):  # type: ignore[no-untyped-def]
        return (self.read(name) for name in names)


def test_a_record_that_is_listed_and_not_found_is_never_left_out(tmp_path: Path) -> None:
    work = join(tmp_path / "d")
    assert [attempt(work, unit, "a") for unit in (0, 1)] == [True, True]
    store = Forgetting(tmp_path / "d")
    with pytest.raises(TemporaryError, match=r"000000\.json was there a moment ago"):
        join(tmp_path / "d", store=store).finalise()
    assert not (tmp_path / "d" / layout.MANIFEST).exists()
    finish(tmp_path / "d")
