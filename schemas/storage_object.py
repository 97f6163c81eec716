"""Object stores (S3, GCS, Azure, by fsspec) as a store: an object appears whole or not at all.

A shard is spooled to a local temporary file and uploaded under a name of its own. A record is one
small PUT on the condition that nothing is there (`If-None-Match: *` on S3); whether the store keeps
to the condition is found out by `store_probe.py`. Clients send a request again when its answer was
lost, and then report their own object as somebody else's: `schemas.storage.create_settled` reads
back.
"""

import contextlib
import errno
import hashlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from fsspec.asyn import AsyncFileSystem
from fsspec.spec import AbstractFileSystem

from schemas.dump_search import locate
from schemas.storage import Content, StoreClass, explain, permanent
from schemas.store_failures import CREDENTIALS_ADVICE, is_foreign, lacks_credentials, refuses

Result = TypeVar("Result")

_TRIES = 3
_PAUSE_SECONDS = 0.2
_READ_AT_ONCE = 512
_REMOVED_AT_ONCE = 1000
_NOT_MINE = {409, 412}
_UNABLE = (NotImplementedError, TypeError, ValueError)


class ObjectStore:
    """A store at an fsspec URL; see `schemas.storage.Store` for the methods' meaning."""

    refusals_certain = False
    store_class: StoreClass = "conditional"

    def __init__(self, url: str) -> None:
        self.url = url
        options = {"use_listings_cache": False, "skip_instance_cache": True}
        self.filesystem, self.root = locate(url, **options)

    def new_file(self, name: str, on_write: Callable[[], None] = lambda: None) -> "SpooledFile":
        """See Store."""
        return SpooledFile(self, name, on_write)

    def create(self, name: str, data: bytes) -> bool:
        """See Store; the condition is the store's own."""
        path = self.path(name)
        try:
            with _os_errors(path):
                self.filesystem.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except FileNotFoundError as error:
            raise _nowhere(path) from error
        except OSError as error:
            if _status(error) in _NOT_MINE:
                return False
            raise
        except _UNABLE as error:
            raise OSError(errno.ENOSYS, f"it cannot create an object: {error}", path) from error
        return True

    def replace(self, name: str, data: bytes) -> None:
        """See Store."""
        self._write(name, lambda path: self.filesystem.pipe_file(path, data))

    def upload(self, name: str, local: str) -> None:
        """Puts a local file there, under a name that nobody else uses."""
        self._write(name, lambda path: self.filesystem.put_file(local, path))

    def read(self, name: str) -> bytes | None:
        """See Store. From an offset, because s3fs else asks for the size before."""
        with contextlib.suppress(FileNotFoundError):
            content: bytes = self._again(name, lambda path: self.filesystem.cat_file(path, start=0))
            return content
        return None

    def read_many(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """See Store; many at a time, and again by itself what failed."""
        for start in range(0, len(names), _READ_AT_ONCE):
            some = names[start : start + _READ_AT_ONCE]
            paths = [self.path(name) for name in some]
            found = self.filesystem.cat_ranges(
                paths, [0] * len(paths), [None] * len(paths), on_error="return"
            )
            for name, content in zip(some, found, strict=True):
                if isinstance(content, FileNotFoundError):
                    yield None
                else:
                    yield content if isinstance(content, bytes) else self.read(name)

    def size(self, name: str) -> int | None:
        """See Store."""
        with contextlib.suppress(FileNotFoundError):
            info = self._again(name, self.filesystem.info)
            return int(info["size"]) if info["type"] == "file" else None
        return None

    def names(self, folder: str) -> list[str]:
        """See Store."""
        return sorted(_last(entry["name"]) for entry in self._entries(folder))

    def names_below(self, folder: str) -> list[str]:
        """See Store."""
        try:
            found = self._again(folder, lambda path: _find(self.filesystem, path))
        except FileNotFoundError:
            return []
        parts = [str(path).rsplit("/", 2) for path in found]
        return sorted(f"{below}/{name}" for _, below, name in parts)

    def sizes(self, folder: str) -> dict[str, int]:
        """See Store."""
        entries = [entry for entry in self._entries(folder) if entry["type"] == "file"]
        return {_last(entry["name"]): int(entry["size"]) for entry in entries}

    def remove(self, *names: str) -> None:
        """See Store; many in one request, where the store can."""
        if len(names) == 1:
            with contextlib.suppress(FileNotFoundError):
                self._again(names[0], self.filesystem.rm_file)
            return
        paths = [self.path(name) for name in names]
        for start in range(0, len(paths), _REMOVED_AT_ONCE):
            some = paths[start : start + _REMOVED_AT_ONCE]
            with contextlib.suppress(FileNotFoundError):
                self._again("", lambda _, some=some: self.filesystem.rm(some))  # type: ignore[misc]

    def path(self, name: str) -> str:
        """The path of a name on the filesystem."""
        return f"{self.root.rstrip('/')}/{name}".rstrip("/")

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        try:
            return list(self._again(folder, lambda path: self.filesystem.ls(path, detail=True)))
        except FileNotFoundError:
            return []

    def _write(self, name: str, call: Callable[[str], Any]) -> None:
        try:
            self._again(name, call)
        except FileNotFoundError as error:
            raise _nowhere(self.path(name)) from error

    def _again(self, name: str, call: Callable[[str], Result]) -> Result:
        """Makes a call that may be made twice; again after a failure that may pass."""
        path = self.path(name)
        for tried in range(1, _TRIES):
            try:
                with _os_errors(path):
                    return call(path)
            except FileNotFoundError:
                raise
            except OSError as error:
                if permanent(error):
                    raise
            time.sleep(_PAUSE_SECONDS * tried)
        with _os_errors(path):
            return call(path)


class SpooledFile(io.RawIOBase):
    """See `schemas.storage.NewFile`; a local temporary file until it is published."""

    def __init__(self, store: ObjectStore, name: str, on_write: Callable[[], None]) -> None:
        self.bytes = 0
        self._store = store
        self._name = name
        self._on_write = on_write
        self._hash = hashlib.sha256()
        self._spool = tempfile.NamedTemporaryFile(prefix="potstill-")  # noqa: SIM115
        self._published = False

    @property
    def sha256(self) -> str:
        """See NewFile."""
        return "sha256:" + self._hash.hexdigest()

    def writable(self) -> bool:
        """It is written only."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        return self.bytes

    def write(self, data: Content, /) -> int:  # type: ignore[override]
        """See NewFile."""
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self.bytes += len(view)
        try:
            self._spool.write(view)
        except OSError as error:
            raise explain(error, self._spool.name) from error
        self._on_write()
        return len(view)

    def publish(self) -> None:
        """See NewFile."""
        if self._published or self._spool.closed:
            raise ValueError(f"{self._name} was published or discarded before")
        self._published = True
        try:
            self._spool.flush()
            self._store.upload(self._name, self._spool.name)
        finally:
            self._spool.close()

    def discard(self) -> None:
        """See NewFile."""
        with contextlib.suppress(OSError):
            self._spool.close()
        if self._published:
            self._store.remove(self._name)


@contextlib.contextmanager
def _os_errors(path: str) -> Iterator[None]:
    """Raises what the clients of stores raise as OSError with an errno that says what to do."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except Exception as error:
        found = _as_os_error(error, path)
        if found is None:
            raise
        raise found from error


def _as_os_error(error: Exception, path: str) -> OSError | None:
    if lacks_credentials(error) or refuses(error):
        return OSError(errno.EACCES, f"{error} ({CREDENTIALS_ADVICE.rstrip('.')})", path)
    if isinstance(error, OSError) and error.errno:
        return OSError(error.errno, error.strerror or str(error), path)
    if isinstance(error, OSError) or is_foreign(error):
        return OSError(errno.EIO, str(error) or type(error).__name__, path)
    return None


def _find(filesystem: Any, path: str) -> list[str]:
    """All files below a path; fsspec's own way to find them leaves out what it fails to list."""
    kind = type(filesystem)
    own = getattr(kind, "_find", kind.find)
    walks = own in (AbstractFileSystem.find, AsyncFileSystem._find)
    return list(filesystem.find(path, **({"on_error": "raise"} if walks else {})))


def _nowhere(path: str) -> OSError:
    return NotADirectoryError(errno.ENOTDIR, "there is no such bucket", path)


def _status(error: BaseException) -> int | None:
    """The status of the answer that an error was made of."""
    cause: BaseException | None = error
    while cause is not None:
        answer = getattr(cause, "response", None)
        if isinstance(answer, dict):
            found = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return found if isinstance(found, int) else None
        cause = cause.__cause__
    return None


def _last(path: str) -> str:
    return str(path).rstrip("/").rpartition("/")[2]
