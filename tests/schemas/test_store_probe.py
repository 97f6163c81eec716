"""Stores are believed for what they do."""

import errno
import os
import threading
from pathlib import Path

import pytest

from schemas.errors import InputError, TemporaryError
from schemas.storage_posix import PosixStore
from schemas.store_probe import probe_store
from tests.shimmed_os import ShimmedOs


def test_a_local_folder_creates_if_absent(tmp_path: Path) -> None:
    assert probe_store(PosixStore(tmp_path), "here") == "create-if-absent"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


class Overwriting(PosixStore):
    def create(self, name: str, data: bytes) -> bool:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(data)
        return True


class ExistsThenWrite(PosixStore):
    """What fsspec's local create mode does: right for one, wrong for racers."""

    barrier = threading.Barrier(8)

    def create(self, name: str, data: bytes) -> bool:
        there = (self.root / name).exists()
        if data.startswith(b'{"racer"'):
            self.barrier.wait()
        if there:
            return False
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(data)
        return True


@pytest.mark.parametrize("kind", [Overwriting, ExistsThenWrite])
def test_stores_with_several_winners_are_refused(tmp_path: Path, kind: type) -> None:
    with pytest.raises(InputError, match="of 8 racers 8 won"):
        probe_store(kind(tmp_path), "here")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (errno.EPERM, InputError, "hard links"),
        (errno.ENOTSUP, InputError, "hard links"),
        (errno.ENOSPC, InputError, "no space"),
        (errno.EIO, TemporaryError, "file system failed"),
    ],
)
def test_failures_are_explained(tmp_path: Path, error: int, kind: type, text: str) -> None:
    def fail(number: int, name: str, args: tuple[object, ...]) -> None:
        if name == "link":
            raise OSError(error, os.strerror(error))

    with pytest.raises(kind, match=text):
        probe_store(PosixStore(tmp_path, ShimmedOs(before=fail)), "here")
