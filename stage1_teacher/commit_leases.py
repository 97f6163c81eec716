"""Advisory leases, so that several workers do not compute the same unit at the same time.

They save work and nothing else: correctness never reads them, and every failure here is ignored.
A lease is a file `<block>.<epoch>.json`; taking or renewing it is creating the next epoch only if
it is absent. Clocks of different machines are never compared: a worker takes a lease over when *it*
has seen the same epoch for `LEASE_SECONDS` on its own monotonic clock, or when the holder was a
process of this machine that is gone.
"""

import contextlib
import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path

from schemas import layout
from schemas.storage import Store

LEASE_SECONDS = 600.0
RENEW_SECONDS = 60.0

_NAME = re.compile(r"^(?P<block>\d+)\.(?P<epoch>\d+)\.json$")


class Leases:
    """The leases as one worker sees them."""

    def __init__(
        self, store: Store, worker: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._clock = clock
        self._content = json.dumps({"worker": worker, "host": _host(), "pid": os.getpid()}).encode()
        self._seen: dict[str, float] = {}
        self._renewed: dict[int, float] = {}

    def take(self, block: int) -> bool:
        """Tries to become the holder of a block of units."""
        try:
            return self._take(block)
        except OSError:
            return False

    def renew(self) -> None:
        """Renews what this worker holds, when it is due."""
        for block, since in list(self._renewed.items()):
            if self._clock() - since >= RENEW_SECONDS and not self.take(block):
                del self._renewed[block]

    def release(self) -> None:
        """Gives back what this worker holds."""
        for block in list(self._renewed):
            with contextlib.suppress(OSError):
                newest = self._newest(block)
                if newest and self._store.read(_path(block, newest)) == self._content:
                    self._store.remove(_path(block, newest))
            del self._renewed[block]

    def _take(self, block: int) -> bool:
        newest = self._newest(block)
        if newest and not self._free(_path(block, newest)):
            return False
        taken = self._store.create(_path(block, newest + 1), self._content)
        if taken:
            self._renewed[block] = self._clock()
            if newest:
                self._store.remove(_path(block, newest))
        return taken

    def _newest(self, block: int) -> int:
        matches = [_NAME.match(name) for name in self._store.names(layout.LEASES)]
        return max((int(m["epoch"]) for m in matches if m and int(m["block"]) == block), default=0)

    def _free(self, path: str) -> bool:
        content = self._store.read(path)
        if content is None or content == self._content:
            return True
        first_seen = self._seen.setdefault(path, self._clock())
        return _gone(content) or self._clock() - first_seen >= LEASE_SECONDS


def _path(block: int, epoch: int) -> str:
    return f"{layout.LEASES}/{block:06d}.{epoch}.json"


def _host() -> str:
    """A hash that tells machines (and their boots) apart without naming them."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    name = platform.node() + (boot.read_text() if boot.exists() else "")
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _gone(content: bytes) -> bool:
    """Whether the holder was a process of this machine that does not run any more."""
    try:
        holder = json.loads(content)
        return holder["host"] == _host() and not _runs(int(holder["pid"]))
    except (ValueError, KeyError, TypeError, OSError):
        return False


def _runs(pid: int) -> bool:
    """Whether a process runs; one that was killed and not yet waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] not in "ZX"
