"""A store in memory whose every operation waits for its turn, so that all orders can be tried."""

import errno
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenlet import getcurrent

from schemas.storage import Content, StoreClass

WRITES = {"create", "publish", "replace", "remove"}
FAULTS: dict[str, tuple[str, ...]] = {
    "create": ("fails before", "fails after", "exists, and it is mine", "exists, and it is not"),
    "publish": ("fails before", "fails after"),
    "replace": ("fails before", "fails after"),
    "remove": ("fails before", "fails after"),
    "read": ("fails before",),
    "look": ("fails before",),
}
"""What may go wrong with an operation. "exists, and it is mine": S3 clients report their own
success so, when its answer was lost; "and it is not": what a 409 is reported as."""


class Gone(BaseException):
    """This worker was killed: whatever it still tries is refused."""


@dataclass(slots=True)
class Step:
    """An operation that a worker is about to do."""

    worker: str
    kind: str
    name: str


@dataclass(slots=True)
class Shared:
    """What all workers see; nothing else is shared between them."""

    files: dict[str, bytes] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)


class ModelStore:
    """One worker's view; see `schemas.storage.Store`. `seen` is everything that it was told."""

    refusals_certain = True
    store_class: StoreClass = "posix"

    def __init__(self, shared: Shared, worker: str, free: bool = False) -> None:
        self.shared = shared
        self.worker = worker
        self.seen = 0
        self.dead = False
        self._free = free

    def forget(self) -> None:
        """Nothing of what this worker was told is held any more: its objects are gone."""
        self.seen = 0

    def new_file(self, name: str, on_write: Callable[[], None] = lambda: None) -> "ModelFile":
        """Nobody sees it, so it takes no turn."""
        return ModelFile(self, name)

    def create(self, name: str, data: bytes) -> bool:
        """See Store."""

        def effect() -> bool:
            if name in self.shared.files:
                return False
            self._put(name, data)
            return True

        return bool(self.turn("create", name, effect))

    def replace(self, name: str, data: bytes) -> None:
        """See Store."""
        self.turn("replace", name, lambda: self._put(name, data))

    def read(self, name: str) -> bytes | None:
        """See Store."""
        found: bytes | None = self.turn("read", name, lambda: self.shared.files.get(name))
        return found

    def read_many(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """See Store."""
        return iter([self.read(name) for name in names])

    def size(self, name: str) -> int | None:
        """See Store."""
        content: bytes | None = self.turn("look", name, lambda: self.shared.files.get(name))
        return None if content is None else len(content)

    def names(self, folder: str) -> list[str]:
        """See Store."""
        return [name for name in self._below(folder) if "/" not in name]

    def names_below(self, folder: str) -> list[str]:
        """See Store."""
        return [name for name in self._below(folder) if name.count("/") == 1]

    def sizes(self, folder: str) -> dict[str, int]:
        """See Store."""
        names = self.names(folder)
        return {name: len(self.shared.files.get(f"{folder}/{name}", b"")) for name in names}

    def remove(self, *names: str) -> None:
        """See Store; every name is an operation of its own."""
        for name in names:
            self.turn("remove", name, lambda name=name: self._drop(name))

    def _below(self, folder: str) -> list[str]:
        prefix = f"{folder}/" if folder else ""

        def look() -> list[str]:
            return sorted(n.removeprefix(prefix) for n in self.shared.files if n.startswith(prefix))

        return list(self.turn("look", folder, look))

    def turn(self, kind: str, name: str, effect: Callable[[], Any]) -> Any:
        """Waits until the explorer gives the turn, then does it, or what went wrong with it."""
        if self._free:
            return effect()
        if self.dead:
            raise Gone
        fault = getcurrent().parent.switch(Step(self.worker, kind, name))
        if fault == "killed":
            self.dead = True
            raise Gone
        if fault in ("", "fails after", "exists, and it is mine"):
            found = effect()
        if fault.startswith("exists"):
            found = False
        self.seen = hash((self.seen, fault, _told(found) if not fault.startswith("fails") else ""))
        if fault.startswith("fails"):
            raise OSError(errno.EIO, fault)
        return found

    def _put(self, name: str, data: bytes) -> None:
        if name in self.shared.files:
            self.shared.changed.append(name)
        self.shared.files[name] = data

    def _drop(self, name: str) -> None:
        self.shared.files.pop(name, None)


class ModelFile:
    """See `schemas.storage.NewFile`."""

    def __init__(self, store: ModelStore, name: str) -> None:
        self._store = store
        self._name = name
        self._data = b""
        self._published = False

    @property
    def bytes(self) -> int:
        """See NewFile."""
        return len(self._data)

    @property
    def sha256(self) -> str:
        """See NewFile."""
        return "sha256:" + hashlib.sha256(self._data).hexdigest()

    def write(self, data: Content) -> int:
        """See NewFile."""
        self._data += data
        return len(data)

    def publish(self) -> None:
        """See NewFile."""
        self._published = True
        self._store.turn("publish", self._name, lambda: self._store._put(self._name, self._data))

    def discard(self) -> None:
        """See NewFile."""
        if self._published:
            self._store.remove(self._name)


def _told(found: Any) -> Any:
    return tuple(found) if isinstance(found, list) else found
