"""Ctrl-C and SIGTERM become a flag that is looked at between samples.

So nothing is interrupted in the middle of a write. A second signal interrupts at once; even then
nothing half-written counts, since a shard means nothing before its commit record exists.

After SIGTERM a unit that can be finished within the grace period is; another is dropped. At the end
of the period the program is interrupted wherever it is, as by a second signal.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


class Interruption:
    """Whether somebody asked to stop, and whether that may interrupt right now.

    Args of the constructor:
        grace: seconds after SIGTERM in which a unit may be finished.
        clock: in seconds.

    Attributes:
        asked: whether somebody did.
    """

    def __init__(self, grace: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.asked = False
        self._grace = grace
        self._clock = clock
        self._deadline = 0.0
        self._deferred = False

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler: interrupts at once unless deferred; the second time always."""
        if self.asked or not self._deferred:
            raise KeyboardInterrupt
        self.asked = True
        if number == signal.SIGTERM and self._grace:
            self._deadline = self._clock() + self._grace
            signal.setitimer(signal.ITIMER_REAL, self._grace)

    def check(self, seconds_left: float = float("inf")) -> None:
        """Raises KeyboardInterrupt when somebody asked to stop.

        Args:
            seconds_left: until what is under way is done; within the grace period it goes on.
        """
        if self.asked and self._clock() + seconds_left > self._deadline:
            raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, only `check` interrupts; leaving the block without an error checks, too."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()


@contextmanager
def interruption(grace: float = 0.0) -> Iterator[Interruption]:
    """Handles the signals inside the block; does nothing outside the main thread."""
    asked = Interruption(grace)
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, asked.handle) for number in _SIGNALS}
    try:
        yield asked
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
