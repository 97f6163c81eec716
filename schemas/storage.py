"""What the commit protocol needs of a store.

`storage_posix.py` is the one for local folders and mounts, `storage_object.py` for S3 and its like;
`storages.py` chooses. Methods raise OSError as the system gave it, because the protocol decides by
it; `explain` turns it into what a user is told.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, cast

from schemas.errors import InputError, PotstillError, TemporaryError

_TRIES = 5

Content = bytes | bytearray | memoryview

StoreClass = Literal["posix", "conditional", "neither"]
"""What a store was seen to do, not what its scheme promises; `store_probe.py` finds it out.

`posix`: link(2) decides who creates a name. `conditional`: a PUT on the condition that nothing is
there. `neither`: nobody does, so that every worker needs a share of its own and one finishes.
"""


class NewFile(Protocol):
    """A file under a name of its own, visible under that name only when it is whole."""

    bytes: int
    """Bytes written so far."""

    @property
    def sha256(self) -> str:
        """`sha256:<hex>` of the bytes written so far."""
        ...

    def write(self, data: Content, /) -> int:
        """Appends; raises a PotstillError, since foreign writers call this."""
        ...

    def publish(self) -> None:
        """Makes the file durable, then visible; not to be called again, whatever it raised."""
        ...

    def discard(self) -> None:
        """Removes the file, published or not."""
        ...


class Store(Protocol):
    """A folder of named files; names are relative, parts joined by `/`.

    Attributes:
        refusals_certain: whether a refusal (no permission, no space) proves that the call had no
            effect. Over a network an earlier try of the same call may have had one.
        store_class: what it is when it creates only if absent; otherwise it is `neither`.
    """

    refusals_certain: bool
    store_class: StoreClass

    def new_file(self, name: str, on_write: Callable[[], None] = ...) -> NewFile:
        """Begins a file that nobody sees before it is published; `on_write` is called often."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Creates a small file only if it is absent: True when created, False when it was there.

        Anything but True leaves open who created what is there: read it back.
        """
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Writes a small file whole, over an older one."""
        ...

    def read(self, name: str) -> bytes | None:
        """The whole content, or None when there is no such file."""
        ...

    def size(self, name: str) -> int | None:
        """Bytes of a regular file, or None when there is no such file."""
        ...

    def read_many(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """The contents of many small files, in order, as `read` gives them."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names inside a folder, ascending; none when there is no such folder."""
        ...

    def names_below(self, folder: str) -> list[str]:
        """`<subfolder>/<name>` of all files one level below a folder, ascending."""
        ...

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of every file in a folder, by its name there."""
        ...

    def remove(self, *names: str) -> None:
        """Removes files; they may be gone already."""
        ...


def as_sink(file: NewFile) -> BinaryIO:
    """The file as the type that writers of Parquet ask for."""
    return cast(BinaryIO, file)


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
MISPLACED = {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}


def permanent(error: OSError) -> bool:
    """Whether trying again is pointless, and the call certainly had no effect."""
    return error.errno in FULL | FORBIDDEN | MISPLACED


def explain(error: OSError, path: str | Path) -> PotstillError:
    """The error that a user is shown for what the system said about `path`."""
    if error.errno in FULL:
        return InputError(
            f"no space left while writing {path}: {error.strerror}. Free some space, or move the "
            "folder to a larger disk, then run the same command: it continues."
        )
    if error.errno in FORBIDDEN:
        return InputError(
            f"no permission to write {path}: {error.strerror}. Choose a folder that you may write, "
            "or have its permissions changed."
        )
    if error.errno in MISPLACED:
        return InputError(f"cannot use {path}: {error.strerror}. Choose another path.")
    return TemporaryError(
        f"the file system failed at {path}: {error.strerror or error}. Run the same command again: "
        "it continues."
    )


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turns what the system says into what a user is told; also a decorator."""
    try:
        yield
    except OSError as error:
        raise explain(error, error.filename or path) from error


def create_settled(store: Store, name: str, data: bytes) -> bytes:
    """Creates a small file if it is absent; gives what is there in the end, whoever wrote it.

    Only a clean success is believed. After anything else, "it exists" included, the file is read
    back: stores are known to report their own success as somebody else's.

    Raises:
        InputError: it is certainly absent, and trying again is pointless: disk full, no permission.
        TemporaryError: what is there is not known.
    """
    failure: OSError | None = None
    for _ in range(_TRIES):
        try:
            if store.create(name, data):
                return data
        except OSError as error:
            failure = error
        found = read_back(store, name)
        if found is not None:
            return found
        if failure and permanent(failure):
            raise explain(failure, name) from failure
    raise TemporaryError(
        f"{name} could not be created, and is not there, after {_TRIES} tries "
        f"({failure or 'the store says that it exists'}). Run the same command again: it continues."
    )


def replace_settled(store: Store, name: str, data: bytes) -> bytes:
    """Writes a small file under a name that nobody contests; gives what is there in the end.

    Raises:
        InputError: trying again is pointless: disk full, no permission.
        TemporaryError: what is there is not known.
    """
    failure: OSError | None = None
    for _ in range(_TRIES):
        try:
            store.replace(name, data)
        except OSError as error:
            failure = error
        found = read_back(store, name)
        if found is not None:
            return found
        if failure and permanent(failure):
            break
    raise explain(failure or OSError(errno.EIO, "it was written, and is not there"), name)


def read_back(store: Store, name: str) -> bytes | None:
    """What is there after an attempt to create it.

    Raises:
        TemporaryError: that cannot be found out.
    """
    try:
        return store.read(name)
    except OSError as error:
        raise TemporaryError(
            f"whether {name} was created is not known: {error.strerror or error}. Nothing was "
            "deleted. Run the same command again: it continues."
        ) from error
