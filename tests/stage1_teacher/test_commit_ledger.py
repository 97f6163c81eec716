"""Dumps of many units: a ledger in files beside the manifest, and snapshots while they grow."""

from pathlib import Path

import pytest

from schemas import layout, ledger
from schemas.dump_folder import open_dump
from schemas.errors import ConflictError, DamagedError, FormatError
from schemas.manifest import Capture
from schemas.storage_posix import PosixStore
from stage1_teacher import commit, commit_committed, commit_final, commit_manifest
from stage1_teacher.commit import Work, open_work
from tests.dumps import make_settings
from tests.stage1_teacher.commit_runs import COUNTS, content

COUNT = 30
UNITS = [(unit, unit + 1) for unit in range(COUNT)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if 10 shards were many."""
    for module in (ledger, commit, commit_committed, commit_final, commit_manifest):
        monkeypatch.setattr(module, "INLINE", 10)
    monkeypatch.setattr(ledger, "PART_LINES", 12)
    monkeypatch.setattr(ledger, "GROUP_LINES", 6)
    monkeypatch.setattr(commit, "_FIRST_SNAPSHOT", 4)


def join(path: Path) -> Work:
    return open_work(path, make_settings(Capture(), rows=COUNT), UNITS, created_by="test")


def compute(work: Work, unit: int) -> None:
    with work.attempt(unit) as one:
        one.sink.write(content(unit, "a"))
        assert one.commit(COUNTS)


def finish(path: Path) -> Work:
    work = join(path)
    for unit in work.units():
        compute(work, unit)
    work.finalise()
    return work


def test_a_long_ledger_stands_beside_the_manifest(tmp_path: Path) -> None:
    work = finish(tmp_path)
    dump = open_dump(tmp_path)
    assert dump.manifest.shards == [] and len(dump.manifest.ledger or []) == 3
    assert (
        [shard.unit for shard in dump.shards] == list(range(COUNT)) == list(map(unit, dump.shards))
    )
    assert list(work.shards()) == list(dump.shards) == list(join(tmp_path).shards())
    assert dump.manifest.alignment == work.manifest().alignment
    named = {part.name for part in dump.manifest.ledger or []}
    assert {path.name for path in (tmp_path / "ledger").iterdir()} == named, "no old snapshots'"
    assert join(tmp_path).finalise() == dump.manifest


def unit(shard: object) -> int:
    return int(shard.name.split("-")[1])


def test_a_growing_dump_is_read_as_a_snapshot(tmp_path: Path) -> None:
    work = join(tmp_path)
    units = work.units()
    with pytest.raises(FormatError, match="unfinished"):
        open_dump(tmp_path, growing=True)
    for _ in range(12):
        compute(work, next(units))
    seen = open_dump(tmp_path, growing=True)
    assert 4 <= len(seen.shards) <= 12
    compute(work, next(units))
    assert len(seen.shards) == len(list(seen.shards)), "what was pinned does not change"
    with pytest.raises(FormatError, match="unfinished"):
        open_dump(tmp_path)
    for number in units:
        compute(work, number)
    whole = work.finalise()
    assert open_dump(tmp_path, growing=True).manifest == whole
    versions = [path.name for path in (tmp_path / layout.LEDGER).iterdir()]
    assert len(versions) < COUNT / 3, "ever more rarely"


def test_two_finalisers_whose_files_differ_agree(tmp_path: Path, monkeypatch) -> None:
    """As versions of Parquet do: the lines count, not their packing."""
    work = join(tmp_path)
    for number in work.units():
        compute(work, number)
    late = join(tmp_path)
    late.manifest()
    monkeypatch.setattr(ledger, "GROUP_LINES", 5)
    first = join(tmp_path).finalise()
    found = late._finaliser().finish(late._committed.whole())
    assert found == first and late._committed.whole().manifest != first
    assert len(open_dump(tmp_path).shards) == COUNT


def test_another_ledger_is_a_conflict(tmp_path: Path) -> None:
    work = join(tmp_path)
    for number in work.units():
        compute(work, number)
    late = join(tmp_path)
    late.manifest()
    work.finalise()
    record = late.committed()[3]
    other = record.shard.model_copy(update={"rows": 7})
    late._committed._read[3] = record.model_copy(update={"shard": other})
    shards = [r.shard for r in late._committed._read.values()]
    assembled = commit_manifest.assemble(late.plan, shards, COUNT)
    with pytest.raises(ConflictError, match="it differs"):
        late._finaliser().finish(assembled)


def test_a_ledger_that_is_gone_is_named(tmp_path: Path) -> None:
    finish(tmp_path)
    gone = min((tmp_path / "ledger").iterdir())
    gone.unlink()
    with pytest.raises(DamagedError, match=rf"ledger/{gone.name} in .*missing.*fresh copy"):
        open_dump(tmp_path)


def test_a_cleaned_dump_of_many_units_has_one_file_per_unit(tmp_path: Path) -> None:
    work = finish(tmp_path)
    assert len(PosixStore(tmp_path).names("data")) == COUNT == len(work.shards())
