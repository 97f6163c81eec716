"""Dumps in a store, read through a cache on this machine."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

from schemas.dump_folder import DumpFolder
from stage2_student.block_cache import BlockCache

BLOCK_BYTES = 2 << 20
"""Two row groups or three; a request's delay weighs little beside it."""


def cached_dumps(
    dumps: Sequence[DumpFolder], folder: str | None, gigabytes: float
) -> list[DumpFolder]:
    """The dumps, remote ones read through a cache of that size; all as they are without a folder.

    What is read is checked as before: blocks are of a dump with one identity, and pages have
    checksums.
    """
    if folder is None:
        return list(dumps)
    cache = BlockCache(Path(folder), int(gigabytes * 1e9))
    return [
        dump
        if isinstance(dump.filesystem, LocalFileSystem)
        else replace(dump, filesystem=CachedStore(dump.filesystem, cache, dump.manifest.identity))
        for dump in dumps
    ]


class CachedStore:
    """An fsspec filesystem whose opened files are read in blocks, each from the cache if it can."""

    def __init__(self, inner: Any, cache: BlockCache, identity: str) -> None:
        self._inner = inner
        self._cache = cache
        self._identity = identity

    def open(self, path: str, mode: str = "rb", **_: Any) -> "CachedFile":
        """Opens a file for reading."""
        return CachedFile(self, path, self._inner.size(path))

    def block(self, path: str, number: int, size: int) -> bytes:
        """One block of a file of that size."""
        start = number * BLOCK_BYTES
        end = min(start + BLOCK_BYTES, size)
        return self._cache.get(
            f"{self._identity} {path} {number}",
            lambda: self._inner.cat_file(path, start=start, end=end),
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)


class CachedFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """A file of a CachedStore."""

    def __init__(self, store: CachedStore, path: str, size: int) -> None:
        super().__init__(store, path, "rb", cache_type="none", size=size)

    def _fetch_range(self, start: int, end: int) -> bytes:
        first, last = start // BLOCK_BYTES, -(-end // BLOCK_BYTES)
        blocks = [self.fs.block(self.path, number, self.size) for number in range(first, last)]
        skip = start - first * BLOCK_BYTES
        return b"".join(blocks)[skip : skip + end - start]
