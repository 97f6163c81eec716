"""The system's calls with something happening at one of them: a crash, an error, another worker."""

import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

CALLS = {
    *("open", "write", "read", "fsync", "close"),
    *("rename", "link", "unlink", "mkdir", "listdir", "lstat"),
}

Happening = Callable[[int, str, tuple[Any, ...]], None]


class ShimmedOs:
    """Counts every call; `before` and `after` happen around the real one, and may raise."""

    def __init__(self, before: Happening | None = None, after: Happening | None = None) -> None:
        self._count = itertools.count()
        self.calls = 0
        self._before = before
        self._after = after
        self.trace: list[tuple[str, tuple[Any, ...], Any]] = []

    def meanwhile(self, point: int, work: Callable[[], None]) -> None:
        """Runs `work`, another worker, right before call number `point`."""

        def happen(number: int, name: str, args: tuple[Any, ...]) -> None:
            if number == point:
                work()

        self._before = happen

    def __getattr__(self, name: str) -> Any:
        if name not in CALLS:
            raise AttributeError(name)
        return lambda *args: self._call(name, args)

    def _call(self, name: str, args: tuple[Any, ...]) -> Any:
        number = next(self._count)
        self.calls = number + 1
        if self._before:
            self._before(number, name, args)
        try:
            result = getattr(os, name)(*args)
            self.trace.append((name, args, result))
        finally:
            if self._after:
                self._after(number, name, args)
        return result


def crash_at(point: int) -> Happening:
    """SIGKILL instead of, or right after, call number `point`."""

    def happen(number: int, name: str, args: tuple[Any, ...]) -> None:
        if number == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return happen


def fail_at(point: int, error: int) -> Happening:
    """An OSError at call number `point`, and only there; close never fails."""

    def happen(number: int, name: str, args: tuple[Any, ...]) -> None:
        if number == point and name != "close":
            raise OSError(error, os.strerror(error), str(args[0]) if args else "")

    return happen


def run_forked(work: Callable[[], None]) -> int:
    """The exit status of `work` in a child process: −9 when it was killed."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
