"""Local folders as a store: whole or absent, durable before visible.

A shard: temporary name, write, fsync, rename, fsync of the folder. A record: temporary name, write,
fsync, link(2), which fails where the name exists and so decides every race, fsync of the folder.
Written with the system's own calls, not with fsspec, whose create mode on local files is
exists-then-write and lets several racers win.
"""

import contextlib
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from schemas.storage import Content, StoreClass, explain


class OsCalls(Protocol):
    """Every call that touches the disk. The `os` module has them; crash tests put a twin here."""

    def open(self, path: str, flags: int, mode: int = ..., /) -> int:
        """See os."""
        ...

    def write(self, fd: int, data: memoryview, /) -> int:
        """See os."""
        ...

    def read(self, fd: int, length: int, /) -> bytes:
        """See os."""
        ...

    def fsync(self, fd: int, /) -> None:
        """See os."""
        ...

    def close(self, fd: int, /) -> None:
        """See os."""
        ...

    def rename(self, source: str, target: str, /) -> None:
        """See os."""
        ...

    def link(self, source: str, target: str, /) -> None:
        """See os."""
        ...

    def unlink(self, path: str, /) -> None:
        """See os."""
        ...

    def mkdir(self, path: str, /) -> None:
        """See os."""
        ...

    def listdir(self, path: str, /) -> list[str]:
        """See os."""
        ...

    def lstat(self, path: str, /) -> os.stat_result:
        """See os."""
        ...


TEMPORARY = ".tmp"
"""Suffix of every name that is not yet meant; such names also begin with a dot."""

_BUFFER = 1 << 20


def temporary_name(name: str) -> str:
    """`a/b.json` → `a/.b.json.<random>.tmp`: the name it is for can be read from it."""
    path = PurePosixPath(name)
    return str(path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY}"))


def intended_name(temporary: str) -> str | None:
    """The last part of the name that a temporary file was for; None when it is none."""
    if not (temporary.startswith(".") and temporary.endswith(TEMPORARY)):
        return None
    return temporary[1 : -len(TEMPORARY)].rpartition(".")[0] or None


class PosixStore:
    """A store in a local folder; see `schemas.storage.Store` for the methods' meaning."""

    refusals_certain = True
    store_class: StoreClass = "posix"

    def __init__(self, root: str | Path, calls: OsCalls = os) -> None:
        self.root = Path(root)
        self.calls = calls

    def new_file(self, name: str, on_write: Callable[[], None] = lambda: None) -> "PosixNewFile":
        """See Store; the temporary name lies in the same folder."""
        self._make_folder((self.root / name).parent)
        return PosixNewFile(self, name, on_write)

    def create(self, name: str, data: bytes) -> bool:
        """See Store; decided by link(2)."""
        with self._written(name, data) as temporary:
            try:
                self.calls.link(temporary, self.path(name))
            except FileExistsError:
                return False
        self.sync_folder(name)
        return True

    def replace(self, name: str, data: bytes) -> None:
        """See Store; decided by rename(2)."""
        with self._written(name, data) as temporary:
            self.calls.rename(temporary, self.path(name))
        self.sync_folder(name)

    def read(self, name: str) -> bytes | None:
        """See Store."""
        try:
            fd = self.calls.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return b"".join(iter(lambda: self.calls.read(fd, _BUFFER), b""))
        finally:
            self.calls.close(fd)

    def read_many(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """See Store."""
        return map(self.read, names)

    def size(self, name: str) -> int | None:
        """See Store."""
        try:
            status = self.calls.lstat(self.path(name))
        except FileNotFoundError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def names(self, folder: str) -> list[str]:
        """See Store."""
        try:
            return sorted(self.calls.listdir(self.path(folder)))
        except FileNotFoundError:
            return []

    def names_below(self, folder: str) -> list[str]:
        """See Store."""
        found = []
        for name in self.names(folder):
            with contextlib.suppress(NotADirectoryError):
                found += [f"{name}/{below}" for below in self.names(f"{folder}/{name}")]
        return found

    def sizes(self, folder: str) -> dict[str, int]:
        """See Store."""
        sizes = {name: self.size(f"{folder}/{name}") for name in self.names(folder)}
        return {name: size for name, size in sizes.items() if size is not None}

    def remove(self, *names: str) -> None:
        """See Store."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self.calls.unlink(self.path(name))

    def path(self, name: str) -> str:
        """The absolute path of a name."""
        return str(self.root / name)

    def begin(self, temporary: str) -> int:
        """Opens a temporary file that did not exist; gives its descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return self.calls.open(self.path(temporary), flags, 0o644)

    def write_all(self, fd: int, data: memoryview) -> None:
        """Writes everything, however little the system takes at a time."""
        while data:
            data = data[self.calls.write(fd, data) :]

    def sync_folder(self, name: str) -> None:
        """Makes the directory entry of `name` durable."""
        self._sync(self.path(str(PurePosixPath(name).parent)))

    def _sync(self, folder: str) -> None:
        fd = self.calls.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.calls.fsync(fd)
        finally:
            self.calls.close(fd)

    @contextlib.contextmanager
    def _written(self, name: str, data: bytes) -> Iterator[str]:
        """A durable temporary file with `data`, removed (or renamed away) afterwards."""
        self._make_folder((self.root / name).parent)
        temporary = temporary_name(name)
        fd = self.begin(temporary)
        try:
            try:
                self.write_all(fd, memoryview(data))
                self.calls.fsync(fd)
            finally:
                self.calls.close(fd)
            yield self.path(temporary)
        finally:
            with contextlib.suppress(OSError):
                self.calls.unlink(self.path(temporary))

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            self.calls.mkdir(str(folder))
        self._sync(str(folder.parent))


class PosixNewFile(io.RawIOBase):
    """See `schemas.storage.NewFile`; a raw binary file, so that pyarrow can write to it."""

    def __init__(self, store: PosixStore, name: str, on_write: Callable[[], None]) -> None:
        self.bytes = 0
        self._store = store
        self._name = name
        self._temporary = temporary_name(name)
        self._on_write = on_write
        self._hash = hashlib.sha256()
        self._pending = bytearray()
        self._fd: int | None = store.begin(self._temporary)

    @property
    def sha256(self) -> str:
        """See NewFile."""
        digest = self._hash.copy()
        digest.update(self._pending)
        return "sha256:" + digest.hexdigest()

    def writable(self) -> bool:
        """It is written only."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        return self.bytes

    def write(self, data: Content, /) -> int:  # type: ignore[override]
        """See NewFile."""
        view = memoryview(data).cast("B")
        self.bytes += len(view)
        self._pending += view
        if len(self._pending) >= _BUFFER:
            try:
                self._drain()
            except OSError as error:
                raise explain(error, self._store.path(self._name)) from error
        self._on_write()
        return len(view)

    def publish(self) -> None:
        """See NewFile."""
        if self._fd is None:
            raise ValueError(f"{self._name} was published or discarded before")
        try:
            self._drain()
            self._store.calls.fsync(self._fd)
        finally:
            self._close()
        self._store.calls.rename(self._store.path(self._temporary), self._store.path(self._name))
        self._store.sync_folder(self._name)

    def discard(self) -> None:
        """See NewFile."""
        self._close()
        self._store.remove(self._temporary)
        self._store.remove(self._name)

    def _drain(self) -> None:
        if self._fd is not None:
            pending = bytes(self._pending)
            self._store.write_all(self._fd, memoryview(pending))
            self._hash.update(pending)
        self._pending.clear()

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            self._store.calls.close(fd)
