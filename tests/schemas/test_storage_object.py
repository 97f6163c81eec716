"""A bucket as a store, and what its errors become; against a real S3 server of this machine."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

from schemas.errors import InputError, TemporaryError
from schemas.storage import create_settled, explain
from schemas.storage_object import ObjectStore
from schemas.storage_posix import PosixStore
from schemas.storages import open_store
from schemas.store_probe import probe_store
from tests.stage2_student.object_stores import KEYS, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def store(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server, "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setattr("schemas.storage_object._PAUSE_SECONDS", 0.0)
    s3fs.S3FileSystem.clear_instance_cache()
    if not s3fs.S3FileSystem().exists("dumps"):
        s3fs.S3FileSystem().mkdir("dumps")
    return ObjectStore(f"s3://dumps/{request.node.name}")


def test_a_bucket_creates_if_absent(store: ObjectStore) -> None:
    assert probe_store(store, "here") == "conditional"
    assert store.names("") == []


def test_small_files(store: ObjectStore) -> None:
    assert store.create("a.json", b"1")
    assert not store.create("a.json", b"2")
    assert (store.read("a.json"), store.read("b.json")) == (b"1", None)
    assert (store.size("a.json"), store.size("b.json"), store.size(".potstill")) == (1, None, None)
    store.replace("a.json", b"22")
    assert store.read("a.json") == b"22"
    store.create(".potstill/commits/0a/000010.json", b"x")
    store.create(".potstill/commits/01/000001.json", b"y")
    below = store.names_below(".potstill/commits")
    assert below == ["01/000001.json", "0a/000010.json"]
    paths = [f".potstill/commits/{name}" for name in [*below, "00/000000.json"]]
    assert list(store.read_many(paths)) == [b"y", b"x", None]
    assert (store.names(""), store.names("none")) == ([".potstill", "a.json"], [])
    assert (store.names_below("none"), store.sizes("none")) == ([], {})
    store.remove("a.json", "gone.json")
    store.remove("gone.json")
    store.remove()
    assert store.names("") == [".potstill"]


def test_a_shard_appears_when_it_is_published(store: ObjectStore) -> None:
    file = store.new_file("data/part-0.parquet")
    file.write(b"x" * 1000)
    assert store.sizes("data") == {}
    file.publish()
    assert store.sizes("data") == {"part-0.parquet": 1000} and file.tell() == file.bytes == 1000
    with pytest.raises(ValueError, match="published"):
        file.publish()
    file.discard()
    file.discard()
    assert store.sizes("data") == {}


def test_a_shard_that_is_left_leaves_nothing(store: ObjectStore) -> None:
    file = store.new_file("data/part-0.parquet")
    file.write(b"x")
    spool = Path(file._spool.name)
    assert spool.exists()
    file.discard()
    assert not spool.exists()


def test_a_full_temporary_folder_is_said(store: ObjectStore, monkeypatch) -> None:
    file = store.new_file("data/part-0.parquet")

    def full(data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file._spool, "write", full)
    with pytest.raises(InputError, match="no space left while writing /"):
        file.write(b"x")


def test_no_bucket_is_said(store: ObjectStore) -> None:
    nowhere = ObjectStore("s3://nobody/dump")
    assert nowhere.read("a") is None and nowhere.names("") == []
    with pytest.raises(InputError, match="there is no such bucket"):
        create_settled(nowhere, "a", b"1")
    with pytest.raises(OSError, match="no such bucket"):
        nowhere.replace("a", b"1")


def test_no_credentials_are_said(store: ObjectStore, monkeypatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(OSError, match="AWS_ACCESS_KEY_ID") as caught:
        ObjectStore("s3://dumps/x").replace("a", b"1")
    assert isinstance(explain(caught.value, "s3://dumps/x"), InputError)


def test_a_network_that_is_down_is_temporary(store: ObjectStore, monkeypatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(TemporaryError, match=r"not known.*Nothing was deleted"):
        create_settled(ObjectStore("s3://dumps/x"), "a", b"1")


def test_a_client_that_cannot_create_is_told_apart(store: ObjectStore, monkeypatch) -> None:
    """One that knows no condition, and one whose server forgets it."""
    put = store.filesystem.pipe_file

    def unable(path: str, data: bytes, mode: str = "overwrite") -> None:
        if mode == "create":
            raise NotImplementedError("mode")
        put(path, data)

    monkeypatch.setattr(store.filesystem, "pipe_file", unable)
    assert probe_store(store, "here") == "neither"
    monkeypatch.setattr(store.filesystem, "pipe_file", lambda path, data, mode="": put(path, data))
    assert probe_store(store, "here") == "neither"


def test_where_dumps_are_written(tmp_path: Path) -> None:
    assert isinstance(open_store(tmp_path), PosixStore)
    local = open_store(f"file://{tmp_path}")
    assert isinstance(local, PosixStore) and local.root == tmp_path
    with pytest.raises(InputError, match="dataset push"):
        open_store("hf://datasets/org/dump")
    with pytest.raises(InputError, match="no URL that can be read here"):
        open_store("nothing://x")
