"""Buckets in this process's memory, and workers of dumps in them."""

import threading
from collections.abc import Callable
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from schemas import layout
from schemas.manifest import Capture, Manifest
from schemas.storage import Store
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
