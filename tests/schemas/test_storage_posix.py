"""Local folders as a store: whole or absent; races decided by link(2)."""

import errno
import hashlib
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.errors import InputError, TemporaryError
from schemas.storage import create_settled, explain, permanent
from schemas.storage_posix import PosixStore, intended_name, temporary_name
from tests.shimmed_os import ShimmedOs


@pytest.fixture
def store(tmp_path: Path) -> PosixStore:
    return PosixStore(tmp_path / "new" / "folder")


def test_create_if_absent(store: PosixStore) -> None:
    assert store.read("a/b.json") is None and store.size("a/b.json") is None
    assert store.create("a/b.json", b"one") is True
    assert store.create("a/b.json", b"two") is False
    assert store.read("a/b.json") == b"one" and store.size("a/b.json") == 3
    assert store.names("a") == ["b.json"], "no temporary file is left"
    store.replace("a/b.json", b"three")
    assert store.read("a/b.json") == b"three" and store.names("a") == ["b.json"]
    store.remove("a/b.json")
    store.remove("a/b.json")
    assert store.names("a") == store.names("nowhere") == []


def test_sixty_four_racers(store: PosixStore) -> None:
    start = threading.Barrier(64)

    def race(number: int) -> bool:
        start.wait()
        return store.create("record.json", str(number).encode() * 1000)

    with ThreadPoolExecutor(64) as pool:
        won = list(pool.map(race, range(64)))
    assert sum(won) == 1
    assert store.read("record.json") == str(won.index(True)).encode() * 1000


@pytest.mark.parametrize("size", [0, 10, (1 << 20) - 1, (3 << 20) + 5])
def test_a_new_file_appears_whole_with_its_hash(store: PosixStore, size: int) -> None:
    data, heard = os.urandom(size), []
    file = store.new_file("data/part.parquet", lambda: heard.append(1))
    for start in range(0, size, 700_001):
        file.write(memoryview(data)[start : start + 700_001])
    assert store.size("data/part.parquet") is None, "not before it is published"
    assert file.sha256 == "sha256:" + hashlib.sha256(data).hexdigest()
    file.publish()
    assert store.read("data/part.parquet") == data
    assert file.bytes == file.tell() == size
    assert file.sha256 == "sha256:" + hashlib.sha256(data).hexdigest()
    assert len(heard) == -(-size // 700_001)
    mode = os.stat(store.path("data/part.parquet")).st_mode
    assert stat.S_IMODE(mode) & 0o600 == 0o600 and not mode & 0o111
    with pytest.raises(ValueError, match="before"):
        file.publish()
    file.discard()
    assert store.names("data") == []


def test_short_writes_are_continued(tmp_path: Path) -> None:
    class Short(ShimmedOs):
        def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
            if name == "write":
                return lambda fd, data: os.write(fd, data[:3])
            return super().__getattr__(name)

    store = PosixStore(tmp_path, Short())
    assert store.create("a", b"0123456789") and store.read("a") == b"0123456789"


def test_temporary_names_say_what_they_are_for() -> None:
    name = temporary_name("data/part-000001-ab.parquet")
    assert name.startswith("data/.part-000001-ab.parquet.") and name.endswith(".tmp")
    assert name != temporary_name("data/part-000001-ab.parquet")
    assert intended_name(name.removeprefix("data/")) == "part-000001-ab.parquet"
    for other in ("part-000001-ab.parquet", ".hidden", "x.tmp", ".tmp", "..tmp", ".DS_Store"):
        assert intended_name(other) is None


def test_only_regular_files_have_a_size(store: PosixStore) -> None:
    store.create("a/b", b"x")
    (store.root / "link").symlink_to(store.root / "a/b")
    assert store.size("a") is None and store.size("link") is None


@pytest.mark.parametrize(
    ("number", "kind", "text", "final"),
    [
        (errno.ENOSPC, InputError, "no space left while writing here", True),
        (errno.EDQUOT, InputError, "no space left", True),
        (errno.EACCES, InputError, "no permission to write here", True),
        (errno.EROFS, InputError, "no permission", True),
        (errno.ENOTDIR, InputError, "Choose another path", True),
        (errno.EIO, TemporaryError, "Run the same command again", False),
        (errno.ESTALE, TemporaryError, "the file system failed at here", False),
    ],
)
def test_errors_are_explained(number: int, kind: type, text: str, final: bool) -> None:
    error = OSError(number, os.strerror(number))
    told = explain(error, "here")
    assert type(told) is kind and text in str(told)
    assert permanent(error) is final


class Never(PosixStore):
    """Says that everything exists, and stores nothing."""

    def create(self, name: str, data: bytes) -> bool:
        return False


def test_settling_gives_up_in_words(tmp_path: Path) -> None:
    with pytest.raises(TemporaryError, match="is not there, after 5 tries"):
        create_settled(Never(tmp_path), "a", b"x")
    store = PosixStore(tmp_path)
    assert create_settled(store, "a", b"mine") == b"mine"
    assert create_settled(store, "a", b"yours") == b"mine"
