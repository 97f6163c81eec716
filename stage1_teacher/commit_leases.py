"""Advisory leases, so that several workers do not compute the same unit at the same time.

They save work and nothing else: correctness never reads them, and every failure here is ignored.
A lease is a file `<block>.<epoch>.json`; taking or renewing it is creating the next epoch only if
it is absent. Clocks of different machines are never compared: a worker takes a lease over when *it*
has seen the same epoch for `LEASE_SECONDS` on its own monotonic clock, or when the holder was a
process of this machine that is gone.
"""

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Callable, Collection
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
        self._held: dict[int, tuple[float, int]] = {}

    def take(self, block: int) -> bool:
        """Tries to become the holder of a block of units: one request, where nobody was before.

        Where a lease cannot be had because the store fails, the work goes on without one: what the
        failure means is found out, and told, when the unit is written.
        """
        try:
            if self._store.create(_path(block, 1), self._content):
                return self._hold(block, 1)
            return self._follow(block)
        except OSError:
            return True

    def renew(self) -> None:
        """Renews what this worker holds, when it is due."""
        for block, (since, _) in list(self._held.items()):
            if self._clock() - since < RENEW_SECONDS:
                continue
            try:
                renewed = self._follow(block)
            except OSError:
                renewed = False
            if not renewed:
                del self._held[block]

    def finished(self, block: int) -> None:
        """Holds a block no longer, since its units are done: nobody asks for it again."""
        self._held.pop(block, None)

    def first(self, block: int) -> bool:
        """Whether this worker holds a block that nobody held before, whose units are untouched.

        For what was finished keeps its files until the dump is complete.
        """
        return self._held.get(block, (0.0, 0))[1] == 1

    def release(self) -> None:
        """Gives back what this worker holds."""
        mine: list[str] = []
        for block in list(self._held):
            with contextlib.suppress(OSError):
                newest = self._newest(block)
                if newest and self._store.read(_path(block, newest)) == self._content:
                    mine += _paths(block, newest)
            del self._held[block]
        with contextlib.suppress(OSError):
            self._store.remove(*mine)

    def _follow(self, block: int) -> bool:
        """Takes the epoch after the newest one, if that is free."""
        newest = self._newest(block)
        if newest and not self._free(_path(block, newest)):
            return False
        if not self._store.create(_path(block, newest + 1), self._content):
            return False
        if newest > 1:  # the first stays: while it is there, nobody takes the block at one stroke
            self._store.remove(_path(block, newest))
        return self._hold(block, newest + 1)

    def _hold(self, block: int, epoch: int) -> bool:
        self._held[block] = (self._clock(), epoch)
        return True

    def _newest(self, block: int) -> int:
        matches = [_NAME.match(name) for name in self._store.names(layout.LEASES)]
        return max((int(m["epoch"]) for m in matches if m and int(m["block"]) == block), default=0)

    def _free(self, path: str) -> bool:
        content = self._store.read(path)
        if content is None or content == self._content:
            return True
        first_seen = self._seen.setdefault(path, self._clock())
        return gone(content) or self._clock() - first_seen >= LEASE_SECONDS


def _path(block: int, epoch: int) -> str:
    return f"{layout.LEASES}/{block:06d}.{epoch}.json"


def _paths(block: int, epoch: int) -> list[str]:
    """The files of a lease in some epoch."""
    return [_path(block, each) for each in sorted({1, epoch})]


@functools.cache
def _host() -> str:
    """A hash that tells machines (and their boots) apart without naming them."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    name = platform.node() + (boot.read_text() if boot.exists() else "")
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def holders(store: Store, unfinished: Collection[int]) -> int:
    """Workers that hold one of these blocks and are not known to be gone."""
    matches = [_NAME.match(name) for name in store.names(layout.LEASES)]
    names = [m.string for m in matches if m and int(m["block"]) in unfinished]
    contents = [store.read(f"{layout.LEASES}/{name}") for name in names]
    return len({content for content in contents if content and not gone(content)})


def gone(content: bytes) -> bool:
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
