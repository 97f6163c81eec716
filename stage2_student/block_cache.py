"""A folder of bounded size with blocks of remote files, the least recently used going first.

Several processes may share it: a block is written under a temporary name and renamed, carries a
digest, and counts as absent when that is wrong. Each process looks at the folder again after it has
added a sixteenth of the size, so that n of them exceed it by n sixteenths at most.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from threading import Lock

_DIGEST = 16
_LEFT = 0.9
"""Share of the size that stays when blocks go."""


class BlockCache:
    """Blocks by key; a key may be any text. For threads and processes."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        self._unseen = most_bytes  # so that the first block looks at the folder
        self._lock = Lock()

    def __reduce__(self) -> tuple[type["BlockCache"], tuple[Path, int]]:
        return BlockCache, (self._folder, self._most)

    def get(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """The block, from the folder or fetched; without room on the disk it is not kept."""
        path = self._folder / hashlib.sha256(key.encode()).hexdigest()
        found = _read(path)
        if found is not None:
            return found
        data = fetch()
        with contextlib.suppress(OSError):
            self._keep(path, data)
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            temporary.write_bytes(_digest(data) + data)
            temporary.rename(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        with self._lock:
            self._unseen += len(data) + _DIGEST
            if self._unseen > self._most // 16:
                self._unseen = 0
                self._make_room()

    def _make_room(self) -> None:
        held = []
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                status = entry.stat()
                held.append((status.st_mtime_ns, status.st_size, entry.path))
        total = sum(size for _, size, _ in held)
        if total <= self._most:
            return
        for _, size, path in sorted(held):
            Path(path).unlink(missing_ok=True)
            total -= size
            if total <= self._most * _LEFT:
                return


def _read(path: Path) -> bytes | None:
    try:
        held = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    data = held[_DIGEST:]
    return data if held[:_DIGEST] == _digest(data) else None


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()
