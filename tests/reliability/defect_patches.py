"""The mistakes themselves: functions that are wrong on purpose, and how they are put in place."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from schemas import layout
from schemas.storage_posix import PosixNewFile, PosixStore
from stage1_teacher.commit_attempt import Attempt
from stage1_teacher.commit_final import Finaliser

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


def method(owner: Any, name: str, new: Callable[..., Any]) -> Patch:
    return lambda: mock.patch.object(owner, name, new)


def both(first: Patch, second: Patch) -> Patch:
    """Two safeguards of one thing, gone together."""

    @contextlib.contextmanager
    def patched() -> Iterator[None]:
        with first(), second():
            yield

    return patched


def without_fsync(of: str) -> Patch:
    """PosixStore whose fsync of some paths does nothing; the path is that of the descriptor."""
    original = PosixStore.__init__

    def init(self: PosixStore, root: str | Path, calls: Any = os) -> None:
        original(self, root, Dropping(calls, of))

    return method(PosixStore, "__init__", init)


class Dropping:
    """The system's calls, but fsync of what matches does nothing."""

    def __init__(self, calls: Any, of: str) -> None:
        self._calls = calls
        self._of = of
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._calls, name)

    def open(self, path: str, *args: Any) -> int:
        fd: int = self._calls.open(path, *args)
        self._paths[fd] = path
        return fd

    def fsync(self, fd: int) -> None:
        path = self._paths.get(fd, "")
        if not matches(path, self._of):
            self._calls.fsync(fd)


def matches(path: str, of: str) -> bool:
    name = path.rpartition("/")[2]
    temporary = name.endswith(".tmp")
    return {
        "shards": temporary and name.startswith(".part-"),
        "records": temporary and ".json" in name and f"/{layout.COMMITS}/" in path,
        "manifest": temporary and name.startswith(".manifest"),
        "the folder of shards": name in (layout.DATA, layout.HIDDEN),
        "the folder of records": f"/{layout.COMMITS}/" in path and not temporary,
        "the folder of the manifest": name in ("dump", "after", "dry"),
    }[of]


def exists_then_write(self: PosixStore, name: str, data: bytes) -> bool:
    if self.size(name) is not None:
        return False
    os.sched_yield()
    self.replace(name, data)
    return True


def overwrites(self: PosixStore, name: str, data: bytes) -> bool:
    self.replace(name, data)
    return True


def in_place(self: PosixStore, name: str, data: bytes) -> bool:
    """Creates the file under its own name, then writes."""
    self._make_folder((self.root / name).parent)
    try:
        fd = self.begin(name)
    except FileExistsError:
        return False
    self.write_all(fd, memoryview(data))
    self.calls.fsync(fd)
    self.calls.close(fd)
    self.sync_folder(name)
    return True


def one_write(self: PosixStore, fd: int, data: memoryview) -> None:
    self.calls.write(fd, data)


def no_read_back(store: Any, name: str, data: bytes) -> bytes:
    """Believes what the store says."""
    if store.create(name, data):
        return data
    found = store.read(name)
    return found if found is not None else b""


def record_first(self: Attempt, counts: Any) -> bool:
    won = self._create_record(counts)
    for file in self._files.values():
        file.publish()
    return won


def deletes_always(self: Attempt, *error: Any) -> None:
    if error[0] is not None or not self._record_created:
        self._discard()


def trusts_itself(self: Attempt, counts: Any) -> bool:
    for file in self._files.values():
        file.publish()
    self._create_record(counts)
    return True


def cleans_all(self: Finaliser) -> None:
    """Removes every shard that no record names, also of units that are still computed."""
    named = {record.shard.name for record in self.records.read(sorted(self.done))}
    for folder in (layout.DATA, layout.HIDDEN):
        for name in self.store.names(folder):
            if name not in named:
                self.store.remove(f"{folder}/{name}")


def manifest_of_what_is_there(self: Any) -> list[int]:
    """Finishes with the units that there are."""
    return []


def same_name(unit: int, attempt: str) -> str:
    return f"part-{unit:06d}-ab.parquet"


def nothing(*args: Any, **kwargs: Any) -> None:
    return None


def no_sum(self: Any) -> Any:
    return self


def loser_keeps_the_winners(self: Attempt, winner: Any) -> bool:
    """The loser removes the winner's shard instead of its own."""
    self._store.remove(f"{layout.DATA}/{winner.shard.name}")
    return False


_PUBLISH = PosixNewFile.publish


def swallows(self: Any) -> None:
    with contextlib.suppress(OSError):
        _PUBLISH(self)


def plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs)


def follows_links(path: str) -> int:
    return os.stat(path).st_size


def target(name: str, new: Any) -> Patch:
    return lambda: mock.patch(name, new)
