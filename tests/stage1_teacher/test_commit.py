"""The commit protocol: joining, continuing, losing, refusing."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas import layout
from schemas.errors import (
    ConflictError,
    DamagedError,
    FormatError,
    InputError,
    TemporaryError,
)
from schemas.manifest import plan_identity
from schemas.storage_posix import PosixStore
from stage1_teacher.commit import Work, open_work
from stage1_teacher.commit_plan import MOST_UNITS
from tests.dumps import write_dump
from tests.shimmed_os import ShimmedOs
from tests.stage1_teacher.commit_runs import (
    COUNTS,
    UNITS,
    attempt,
    check_tidy,
    check_whole,
    content,
    files,
    finish,
    join,
    settings,
)


def test_a_whole_run(folder: Path) -> None:
    manifest = finish(folder / "d")
    assert check_whole(folder / "d") == manifest
    check_tidy(folder / "d", manifest)
    work = join(folder / "d")
    assert work.complete and work.missing() == [] and list(work.units()) == []
    assert work.finalise() == manifest


def test_a_run_continues(folder: Path) -> None:
    work = join(folder / "d")
    attempt(work, 1)
    again = join(folder / "d")
    assert again.missing() == [0, 2]
    assert again.plan == work.plan
    with pytest.raises(ConflictError, match=r"2 of 3 units are missing \(0, 2\)"):
        again.finalise()
    finish(folder / "d")
    check_whole(folder / "d")


def test_another_machine_may_turn_the_engines_knobs(folder: Path) -> None:
    """The first worker's stand in the manifest; they are no part of what a dump is compared by."""
    path = folder / "d"
    for options in ({"max_num_seqs": 4}, {"max_num_seqs": 8, "enforce_eager": True}, None):
        work = open_work(path, settings(), UNITS, created_by="test", engine_options=options)
        assert work.plan.engine_options == {"max_num_seqs": 4}
    manifest = finish(path)
    assert manifest.engine_options == {"max_num_seqs": 4}
    assert check_whole(path) == manifest
    assert manifest.plan == plan_identity(settings())
    other = finish(folder / "e")
    assert (other.engine_options, other.plan) == ({}, manifest.plan)


class Lying(PosixStore):
    """Says that a record existed although it was just created here: what S3 clients do."""

    def create(self, name: str, data: bytes) -> bool:
        created = super().create(name, data)
        return created and layout.COMMITS not in name


class Forgetful(PosixStore):
    """Says for the first two times that the record exists, and creates nothing."""

    refusals = 2

    def create(self, name: str, data: bytes) -> bool:
        if layout.COMMITS in name and self.refusals:
            self.refusals -= 1
            return False
        return super().create(name, data)


class Unreadable(PosixStore):
    """Fails while creating a record, and cannot read it back either."""

    broken = False

    def create(self, name: str, data: bytes) -> bool:
        if layout.COMMITS in name:
            super().create(name, data)
            self.broken = True
            raise OSError(errno.EIO, "lost")
        return super().create(name, data)

    def read(self, name: str) -> bytes | None:
        if self.broken:
            raise OSError(errno.EIO, "still lost")
        return super().read(name)


def with_store(store: PosixStore) -> Work:
    return open_work(store.root, settings(), UNITS, created_by="test", store=store)


@pytest.mark.parametrize("kind", [Lying, Forgetful])
def test_my_record_is_mine_whatever_the_store_says(folder: Path, kind: type) -> None:
    work = with_store(kind(folder / "d"))
    assert attempt(work, 0)
    assert len(list((folder / "d/data").iterdir())) == 1
    assert join(folder / "d").missing() == [1, 2]


def test_an_unknown_outcome_deletes_nothing(folder: Path) -> None:
    work = with_store(Unreadable(folder / "d"))
    with pytest.raises(TemporaryError, match=r"not known.*Nothing was deleted"):
        attempt(work, 0)
    assert len(list((folder / "d/data").iterdir())) == 1
    assert join(folder / "d").missing() == [1, 2], "it had been committed after all"


def test_the_loser_deletes_its_own_shard_only(folder: Path) -> None:
    first, second = join(folder / "d"), join(folder / "d")
    with second.attempt(0) as late:
        late.sink.write(b"late")
        assert attempt(first, 0)
        assert late.commit(COUNTS) is False
    (left,) = (folder / "d/data").iterdir()
    assert left.read_bytes() == content(0, "a")


def test_an_attempt_that_is_left_leaves_nothing(folder: Path) -> None:
    work = join(folder / "d")
    with pytest.raises(KeyboardInterrupt), work.attempt(0) as one:
        one.sink.write(b"x" * (2 << 20))
        one.hidden_sink.write(b"y")
        raise KeyboardInterrupt
    assert not [name for name in files(folder / "d") if name != layout.PLAN]


def test_cleaning_never_touches_units_without_a_record(folder: Path) -> None:
    work = join(folder / "d")
    alive = work.attempt(2)
    alive.sink.write(b"shard of 2 by the living")
    stray = folder / "d/data/part-000001-abc.parquet"
    stray.write_bytes(b"not committed")
    attempt(join(folder / "d"), 0)
    orphan = folder / "d/data/part-000000-abc.parquet"
    orphan.write_bytes(b"lost")
    half = folder / "d/data/.part-000000-abd.parquet.00ff.tmp"
    half.write_bytes(b"lo")
    join(folder / "d")
    assert stray.exists() and not orphan.exists() and not half.exists()
    assert alive.commit(COUNTS)
    finish(folder / "d")
    check_tidy(folder / "d", check_whole(folder / "d"))


# Bad surroundings.


def test_other_settings_are_refused_field_by_field(folder: Path) -> None:
    join(folder / "d")
    with pytest.raises(ConflictError) as caught:
        join(folder / "d", top_k=8, min_prob=None)
    assert "capture.top_k: 8 here, 64 there" in str(caught.value)
    assert "capture.min_prob: none here, 0.001953125 there" in str(caught.value)
    finish(folder / "d")
    with pytest.raises(ConflictError, match=r"capture\.tail_samples: 3 here, 64 there"):
        join(folder / "d", tail_samples=3)


def test_other_units_are_refused(folder: Path) -> None:
    join(folder / "d")
    with pytest.raises(ConflictError, match="1 here, ending at row 20; 3 there"):
        open_work(folder / "d", settings(), [(0, 20)], created_by="test")


def test_too_many_units(folder: Path) -> None:
    units = [(i, i + 1) for i in range(MOST_UNITS + 1)]
    with pytest.raises(InputError, match="Raise --unit-size by a factor of 2"):
        open_work(folder / "d", settings(), units, created_by="test")
    assert not (folder / "d").exists()


def test_numbers_that_no_reader_takes_are_not_written(folder: Path) -> None:
    dump = write_dump(folder / "other", count=4)
    table = pq.read_table(next((folder / "other/data").iterdir()))
    other = settings().model_copy(update={"tokenizer": dump.manifest.tokenizer})
    work = open_work(folder / "d", other, UNITS, created_by="test")
    work.attempt(0).check(table)
    narrow = other.tokenizer.model_copy(update={"head_size": 8})
    narrow_settings = other.model_copy(update={"tokenizer": narrow})
    work = open_work(folder / "e", narrow_settings, UNITS, created_by="test")
    with pytest.raises(DamagedError, match=r"unit 0: .* head has 8 rows"):
        work.attempt(0).check(table)


def test_a_folder_with_something_else_is_left_alone(folder: Path) -> None:
    (folder / "thesis.tex").write_text("x")
    with pytest.raises(FormatError, match=r"holds no dump: found thesis\.tex"):
        join(folder)
    assert files(folder) == {"thesis.tex"}
    with pytest.raises(InputError, match="Choose another path"):
        join(folder / "thesis.tex")


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_a_full_disk_leaves_nothing_half_written(folder: Path, size: int) -> None:
    work = join(folder / "d")

    def full(number: int, name: str, args: tuple[Any, ...]) -> None:
        if name == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    work._store.calls = ShimmedOs(before=full)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="no space left") as caught, work.attempt(0) as one:
        one.sink.write(b"x" * size)
        one.commit(COUNTS)
    assert caught.value.exit_code == 2
    assert not [name for name in files(folder / "d") if name != layout.PLAN]
    finish(folder / "d")
    check_whole(folder / "d")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(folder: Path) -> None:
    (folder / "d").mkdir(mode=0o500)
    with pytest.raises(InputError, match="no permission"):
        join(folder / "d")


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS])
def test_no_permission(folder: Path, error: int) -> None:
    def refuse(number: int, name: str, args: tuple[Any, ...]) -> None:
        if name == "mkdir":
            raise OSError(error, os.strerror(error))

    with pytest.raises(InputError, match="no permission") as caught:
        join(folder / "d", ShimmedOs(before=refuse))
    assert caught.value.exit_code == 2


def test_a_shard_that_vanished_is_named(folder: Path) -> None:
    work = join(folder / "d")
    for unit in work.missing():
        attempt(work, unit)
    gone = next((folder / "d/data").glob("part-000001-*"))
    gone.unlink()
    with pytest.raises(DamagedError, match=rf"{gone.name}.*found nothing.*commits/01/000001.json"):
        work.finalise()
    assert not (folder / "d" / layout.MANIFEST).exists()
    (folder / "d" / layout.record_path(1)).unlink()
    finish(folder / "d")
    check_whole(folder / "d")


def test_a_damaged_plan_or_record_is_named(folder: Path) -> None:
    work = join(folder / "d")
    attempt(work, 0)
    record = folder / "d" / layout.record_path(0)
    record.write_bytes(record.read_bytes()[:-20])
    with pytest.raises(DamagedError, match=r"commits/00/000000\.json.*computed anew"):
        finish(folder / "d")
    plan = folder / "d" / layout.PLAN
    value = json.loads(plan.read_bytes())
    value["settings"]["limits"]["seed"] += 1
    plan.write_text(json.dumps(value))
    with pytest.raises(DamagedError, match="does not hash to its checksum"):
        join(folder / "d")


def test_snapshots_grow(folder: Path) -> None:
    work = join(folder / "d")
    attempt(work, 2)
    assert [s.unit for s in work.snapshot().shards] == [2]
    attempt(work, 0)
    assert [s.unit for s in work.snapshot().shards] == [0, 2]
    assert work.snapshot() == work.snapshot()
    assert len(list((folder / "d" / layout.LEDGER).iterdir())) == 2


# Leases.
