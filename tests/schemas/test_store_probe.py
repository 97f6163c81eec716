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
    assert probe_store(PosixStore(tmp_path), "here") == "posix"
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
def test_stores_with_several_winners_are_told_apart(tmp_path: Path, kind: type) -> None:
    assert probe_store(kind(tmp_path), "here") == "neither"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_file_systems_without_hard_links_are_told_apart(tmp_path: Path, error: int) -> None:
    def fail(number: int, name: str, args: tuple[object, ...]) -> None:
        if name == "link":
            raise OSError(error, os.strerror(error))

    assert probe_store(PosixStore(tmp_path, ShimmedOs(before=fail)), "here") == "neither"


class Dead(Overwriting):
    """Takes everything and gives nothing back."""

    def read(self, name: str) -> bytes | None:
        return None


def test_a_store_must_at_least_keep_what_it_is_given(tmp_path: Path) -> None:
    with pytest.raises(TemporaryError, match="does not give back"):
        probe_store(Dead(tmp_path), "here")


@pytest.mark.parametrize("lost", range(10))
def test_a_lost_answer_does_not_change_the_class(tmp_path: Path, lost: int) -> None:
    """Whichever creation it is whose success is reported as somebody else's."""

    class Lossy(PosixStore):
        created = 0

        def create(self, name: str, data: bytes) -> bool:
            won = super().create(name, data)
            Lossy.created += won
            return won and Lossy.created != lost + 1

    assert probe_store(Lossy(tmp_path), "here") == "posix"


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
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
