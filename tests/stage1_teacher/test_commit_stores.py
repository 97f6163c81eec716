"""The commit protocol where nobody decides a race, and where a store changes its mind."""

import pytest

from schemas.errors import ConfigError, ConflictError, InputError, TemporaryError
from schemas.storage_object import ObjectStore
from schemas.storage_posix import PosixStore
from stage1_teacher.commit import Share, Work
from tests.stage1_teacher import commit_runs
from tests.stage1_teacher.buckets import Bucket, attempt, check_whole, finish, join

pytestmark = pytest.mark.usefixtures("fresh_buckets")

# Where nobody creates only if absent.


def test_shares_where_nobody_decides() -> None:
    url = "overwriting://b/night"
    first, second = (join(url, share=Share(number, 2)) for number in (1, 2))
    assert first.plan.store_class == "neither"
    theirs = second.units()
    for unit in iter(lambda: next(theirs), 1):
        attempt(second, unit, "b")
    assert attempt(second, 1, "b")
    told: list[str] = []
    for unit in first.units(lambda p: told.append(p.message)):
        attempt(first, unit, "a")
    assert "share 1/2" in told[0] and len(told) == 1
    manifest = first.finalise()
    assert list(theirs) == [] and second.finalise() == manifest
    assert check_whole(ObjectStore(url)) == manifest


def test_the_first_waits_for_the_others_and_they_for_its_manifest() -> None:
    url = "overwriting://b/night"
    first, second = (join(url, share=Share(number, 2)) for number in (1, 2))
    told: list[str] = []
    waits = []

    def sleep(_: float) -> None:
        waits.append(1)
        if len(waits) == 3:
            attempt(second, 1, "b")

    first._sleep = sleep
    for unit in first.units(lambda p: told.append(p.message)):
        attempt(first, unit, "a")
    assert len(waits) == 3 and "hold the last 1 units" in told[1]
    second._sleep = lambda _: first.finalise()
    assert list(second.units(lambda p: told.append(p.message))) == []
    assert told[-1] == "waiting for the first worker, who finishes the dump"


def test_two_attempts_at_a_unit_are_settled_at_the_end() -> None:
    """With different bytes; the one that lost goes only when the manifest says who won."""
    url = "overwriting://b/night"
    one, two = join(url), join(url)
    for unit in range(3):
        assert attempt(one, unit, "a") and attempt(two, unit, "bb")
    assert len(ObjectStore(url).sizes("data")) == 6
    join(url)
    assert len(ObjectStore(url).sizes("data")) == 6
    manifest = one.finalise()
    assert check_whole(ObjectStore(url)) == manifest == two.finalise()


def test_a_file_system_without_hard_links(tmp_path, monkeypatch) -> None:
    def no_links(self: PosixStore, name: str, data: bytes) -> bool:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(PosixStore, "create", no_links)
    assert join(tmp_path / "d").plan.store_class == "neither"
    assert finish(tmp_path / "d") == check_whole(PosixStore(tmp_path / "d"))


# A store that stops guaranteeing what the probe found.


def test_a_store_that_forgets_the_condition_is_refused(monkeypatch) -> None:
    work = join("bucket://b/night")
    attempt(work, 0)
    pipe_file = Bucket.pipe_file
    monkeypatch.setattr(Bucket, "pipe_file", lambda s, p, v, mode="": pipe_file(s, p, v))
    with pytest.raises(InputError, match=r"no longer creates.*conditional"):
        join("bucket://b/night")
    assert attempt(join_blindly(work), 0, "b"), "a worker who is there already"
    for unit in (1, 2):
        attempt(work, unit)
    with pytest.raises(InputError, match="replaced the record of unit 0"):
        work.finalise()
    assert not ObjectStore("bucket://b/night").names("manifest.json")
    monkeypatch.setattr(Bucket, "pipe_file", pipe_file)
    finish("bucket://b/night")
    check_whole(ObjectStore("bucket://b/night"))


def join_blindly(work: Work) -> Work:
    return Work(work._store, work.plan)


@pytest.mark.parametrize("listed", [[], ["00/000000.json"]], ids=["nothing", "less"])
@pytest.mark.parametrize("lie", [1, 2, 3])
def test_a_listing_that_lacks_units_loses_none(tmp_path, monkeypatch, lie, listed) -> None:
    """As a store does that answers 404 to one request: found by every request × every fault."""
    looks = []
    honest = PosixStore.names_below

    def names_below(self: PosixStore, folder: str) -> list[str]:
        looks.append(folder)
        return listed if len(looks) == lie else honest(self, folder)

    work = commit_runs.join(tmp_path / "d")
    for unit in range(3):
        commit_runs.attempt(work, unit)
    monkeypatch.setattr(PosixStore, "names_below", names_below)
    assert [shard.unit for shard in work.finalise().shards] == [0, 1, 2]
    assert len(looks) >= lie, "it was told the lie"
    commit_runs.check_whole(tmp_path / "d")


def test_a_listing_that_lacks_units_from_the_start_is_refused(tmp_path, monkeypatch) -> None:
    for unit in range(3):
        commit_runs.attempt(commit_runs.join(tmp_path / "d"), unit)
    work = commit_runs.join(tmp_path / "d")
    assert work.missing() == []
    work._committed.done.clear()
    monkeypatch.setattr(PosixStore, "names_below", lambda *_: [])
    with pytest.raises(TemporaryError, match="lists 0 of 3 units"):
        work.shards()
    assert not (tmp_path / "d" / "manifest.json").exists()


def test_two_ways_to_one_place_are_told_apart(tmp_path) -> None:
    join(tmp_path / "d")

    class Gateway(PosixStore):
        store_class = "conditional"

    with pytest.raises(ConflictError, match="class posix; found conditional"):
        join(tmp_path / "d", Gateway(tmp_path / "d"))


# Shares.


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "1/0", "-1/2", "1/2/3", ""])
def test_what_is_no_share_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="Count from 1"):
        Share.parse(text)


def test_shares_cover_every_unit_once() -> None:
    units = list(range(10))
    assert Share.parse("2/8") == Share(2, 8) and not Share(2, 8).finishes
    assert sorted(unit for n in (1, 2, 3) for unit in Share(n, 3).of(units)) == units
    assert Share(2, 2).first(units) == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]


def test_a_share_is_where_a_worker_begins(tmp_path) -> None:
    second = join(tmp_path / "d", share=Share(2, 3))
    assert next(second.units()) == 1
