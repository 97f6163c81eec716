"""Remote dumps through a bounded cache: the same rows, fewer requests, never stale or altered."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from schemas.dump_folder import DumpFolder, open_dump
from stage2_student import cached_store
from stage2_student.block_cache import BlockCache
from stage2_student.cached_store import cached_dumps
from tests.dumps import write_dump


class Counted(MemoryFileSystem):
    """A store that counts what it is asked for."""

    cachable = False
    asked: ClassVar[list[int]] = []

    def cat_file(self, path: str, start: Any = None, end: Any = None, **more: Any) -> bytes:
        self.asked.append((end or 0) - (start or 0))
        return super().cat_file(path, start=start, end=end, **more)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DumpFolder:
    monkeypatch.setattr(cached_store, "BLOCK_BYTES", 4096)
    local = write_dump(tmp_path / "dump", count=40, unit_size=20)
    store = Counted()
    store.asked.clear()
    store.put(str(local.path), "/dump", recursive=True)
    return replace(open_dump(local.path), filesystem=store, path="/dump")


def tables(dump: DumpFolder) -> list[dict[str, Any]]:
    files = [dump.shard_file(shard) for shard in dump.shards]
    return [row for file in files for row in file.read().to_pylist()]


def test_rows_are_the_same_and_the_second_reading_asks_for_nothing(remote, tmp_path) -> None:
    (cached,) = cached_dumps([remote], str(tmp_path / "cache"), 1.0)
    assert tables(cached) == tables(remote)
    asked = len(remote.filesystem.asked)
    assert asked >= sum(-(-shard.bytes // 4096) for shard in remote.shards)
    assert tables(cached) == tables(remote)
    assert len(remote.filesystem.asked) == asked
    assert tables(pickle.loads(pickle.dumps(cached))) == tables(remote)  # in another process


def test_it_stays_within_its_size_and_still_works(remote, tmp_path) -> None:
    (cached,) = cached_dumps([remote], str(tmp_path / "cache"), 20_000 / 1e9)
    for _ in range(3):
        assert tables(cached) == tables(remote)
        held = sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())
        assert 0 < held <= 20_000 + 20_000 // 16 + 4200


def test_an_altered_block_is_fetched_again(remote, tmp_path) -> None:
    (cached,) = cached_dumps([remote], str(tmp_path / "cache"), 1.0)
    rows = tables(cached)
    for path in (tmp_path / "cache").iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert tables(cached) == rows


def test_another_dump_at_the_same_place_is_not_mixed_up(remote, tmp_path) -> None:
    (cached,) = cached_dumps([remote], str(tmp_path / "cache"), 1.0)
    tables(cached)
    other = write_dump(tmp_path / "other", count=40, unit_size=20, seed=7)
    remote.filesystem.rm("/dump", recursive=True)
    remote.filesystem.put(str(other.path), "/dump", recursive=True)
    moved = replace(open_dump(other.path), filesystem=remote.filesystem, path="/dump")
    (cached,) = cached_dumps([moved], str(tmp_path / "cache"), 1.0)
    assert [row["id"] for row in tables(cached)] == list(other.samples)


def test_least_recently_used_blocks_go_first(tmp_path) -> None:
    cache = BlockCache(tmp_path / "c", 600)
    fetched: list[str] = []

    def get(key: str) -> None:
        cache.get(key, lambda: (fetched.append(key), key.encode() * 100)[1])

    for key in "abcdefgh":
        get(key)
        get("a")
    assert fetched == list("abcdefgh")
    get("b")
    assert fetched[-1] == "b"


def test_a_disk_without_room_only_costs_time(tmp_path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = BlockCache(tmp_path / "file" / "cache", 1000)
    assert cache.get("a", lambda: b"data") == b"data"


def test_local_dumps_are_read_as_they_are(tmp_path) -> None:
    write_dump(tmp_path / "d", count=4)
    dump = open_dump(tmp_path / "d")
    assert cached_dumps([dump], str(tmp_path / "cache"), 1.0) == [dump]
    assert cached_dumps([dump], None, 1.0) == [dump]
