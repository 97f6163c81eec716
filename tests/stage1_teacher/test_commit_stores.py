"""The commit protocol on the three classes of store: buckets, and where nobody decides a race."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from schemas import layout
from schemas.dump_folder import open_dump
from schemas.errors import ConfigError, ConflictError, InputError, PotstillError, TemporaryError
from schemas.manifest import Capture, Manifest
from schemas.storage import Store
from schemas.storage_object import ObjectStore
from schemas.storage_posix import PosixStore
from schemas.store_probe import ROUNDS
from schemas.strict_json import parse_model
from stage1_teacher.commit import Share, Work, open_work
from stage1_teacher.commit_leases import LEASE_SECONDS
from tests.dumps import make_settings
from tests.stage1_teacher.commit_runs import COUNTS, content

UNITS = [(0, 8), (8, 16), (16, 20)]
_creating = threading.Lock()


class Bucket(MemoryFileSystem):
    """A bucket in this process's memory, which keeps to the condition; calls may fail."""

    protocol = "bucket"
    cachable = False
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    calls = 0
    before: Callable[[int], None] | None = None
    after: Callable[[int], None] | None = None

    def _called(self, call: Callable[[], Any]) -> Any:
        number, Bucket.calls = Bucket.calls, Bucket.calls + 1
        if Bucket.before:
            Bucket.before(number)
        result = call()
        if Bucket.after:
            Bucket.after(number)
        return result

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        path = self._strip_protocol(path)

        def put() -> None:
            with _creating:
                if mode == "create" and path in self.store:
                    raise FileExistsError(path)
                self.store[path] = MemoryFile(self, path, value)

        return self._called(put)

    def put_file(self, lpath, rpath, **kwargs):
        with open(lpath, "rb") as file:
            self.pipe_file(rpath, file.read())

    def cat_file(self, path, start=None, end=None, **kwargs):
        return self._called(lambda: MemoryFileSystem.cat_file(self, path, start, end))

    def ls(self, path, detail=True, **kwargs):
        return self._called(lambda: MemoryFileSystem.ls(self, path, detail))

    def info(self, path, **kwargs):
        return self._called(lambda: MemoryFileSystem.info(self, path))

    def rm_file(self, path):
        return self._called(lambda: MemoryFileSystem.rm_file(self, path))


class Overwriting(Bucket):
    """One whose server forgets the condition."""

    protocol = "overwriting"

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        return super().pipe_file(path, value)


fsspec.register_implementation("bucket", Bucket, clobber=True)
fsspec.register_implementation("overwriting", Overwriting, clobber=True)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("schemas.storage_object._PAUSE_SECONDS", 0.0)
    monkeypatch.setitem(ROUNDS, "conditional", 1)
    empty()
    yield
    empty()


def empty() -> None:
    for kind in (Bucket, Overwriting):
        kind.store.clear()
    Bucket.pseudo_dirs[:] = [""]
    Bucket.before = Bucket.after = None
    Bucket.calls = 0


def settings() -> Any:
    return make_settings(Capture(), rows=20)


def join(url: Any, store: Store | None = None, share: Share | None = None) -> Work:
    work = open_work(url, settings(), UNITS, created_by="test", store=store)
    work.share = share or Share()
    clock = [0.0]
    work._leases._clock = lambda: clock[0]
    work._sleep = lambda seconds: clock.__setitem__(0, clock[0] + LEASE_SECONDS)
    return work


def attempt(work: Work, unit: int, who: str = "a") -> bool:
    with work.attempt(unit) as one:
        one.sink.write(content(unit, who))
        return one.commit(COUNTS)


def finish(url: Any, who: str = "a") -> Manifest:
    work = join(url)
    for unit in work.units():
        attempt(work, unit, who)
    work.publish("README.md", b"card")
    return work.finalise()


def check_whole(store: Store) -> Manifest:
    """One shard per unit, whole, and no other."""
    data = store.read(layout.MANIFEST)
    assert data is not None
    manifest = parse_model(Manifest, data, "manifest.json")
    assert [shard.unit for shard in manifest.shards] == [0, 1, 2]
    assert store.sizes("data") == {shard.name: shard.bytes for shard in manifest.shards}
    for shard in manifest.shards:
        held = store.read(f"data/{shard.name}")
        assert held is not None and held.startswith(f"shard of {shard.unit} by".encode())
    assert store.names(layout.LEASES) == store.names(layout.PROBES) == []
    return manifest


def test_a_whole_run_in_a_bucket() -> None:
    manifest = finish("bucket://b/night")
    assert check_whole(ObjectStore("bucket://b/night")) == manifest
    assert open_dump("bucket://b/night").manifest == manifest
    work = join("bucket://b/night")
    assert work.complete and list(work.units()) == [] and work.finalise() == manifest


def test_a_run_in_a_bucket_continues() -> None:
    work = join("bucket://b/night")
    assert work.plan.store_class == "conditional"
    assert attempt(work, 1)
    again = join("bucket://b/night")
    assert (again.missing(), again.rows_done) == ([0, 2], 8)
    assert finish("bucket://b/night") == check_whole(ObjectStore("bucket://b/night"))


@pytest.mark.parametrize(
    ("moment", "sticky", "error"),
    [
        ("before", False, ConnectionError("lost")),
        ("after", False, ConnectionError("lost")),
        ("before", True, PermissionError("expired")),
        ("after", True, ConnectionError("lost")),
    ],
)
def test_every_call_to_a_bucket_fails(moment: str, sticky: bool, error: OSError) -> None:
    """Instead of the call, or although it was done; once, or from then on."""
    finish("bucket://b/dry")
    points = Bucket.calls
    assert points > 50
    for point in range(points):
        empty()

        def fail(number: int, point: int = point) -> None:
            if number == point or (sticky and number > point):
                raise error

        setattr(Bucket, moment, staticmethod(fail))
        try:
            finish("bucket://b/night")
        except PotstillError as told:
            assert len(str(told)) > 40
        Bucket.before = Bucket.after = None
        finish("bucket://b/night", who="b")
        check_whole(ObjectStore("bucket://b/night"))


def test_another_worker_does_the_same_unit_at_every_call() -> None:
    won = set()
    for point in range(50):
        empty()
        join("bucket://b/night")
        mine, results = join("bucket://b/night"), []
        start = Bucket.calls

        def happen(number: int, at: int = point + start, into: list[bool] = results) -> None:
            if number == at:
                into.append(attempt(join("bucket://b/night"), 1, "b"))

        Bucket.before = staticmethod(happen)
        results.append(attempt(mine, 1, "a"))
        Bucket.before = None
        assert sum(results) == 1, "exactly one wins"
        won.add(tuple(results))
        finish("bucket://b/night")
        check_whole(ObjectStore("bucket://b/night"))
    assert {(True, False), (True,)} <= won


def test_an_expired_permission_leaves_the_shard_since_nothing_is_certain() -> None:
    """An earlier try of the same request may have been applied."""
    work = join("bucket://b/night")

    def expired(number: int) -> None:
        if number > start:
            raise PermissionError("expired")

    with work.attempt(0) as one:
        one.sink.write(content(0, "a"))
        start = Bucket.calls
        Bucket.before = staticmethod(expired)
        with pytest.raises((InputError, TemporaryError)):
            one.commit(COUNTS)
    Bucket.before = None
    assert len(ObjectStore("bucket://b/night").sizes("data")) == 1
    finish("bucket://b/night", who="b")
    check_whole(ObjectStore("bucket://b/night"))


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


def test_a_dump_that_begins_between_two_looks_is_joined(tmp_path) -> None:
    """It used to be taken for a folder that holds something else."""

    class Late(PosixStore):
        def names(self, folder: str) -> list[str]:
            if not (self.root / layout.PLAN).exists():
                finish(self.root, "b")
            return super().names(folder)

    store = Late(tmp_path / "d")
    store.root.mkdir()
    assert join(tmp_path / "d", store).complete


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
