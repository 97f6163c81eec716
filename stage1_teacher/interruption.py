"""Ctrl-C and SIGTERM become a flag that is looked at between batches.

So nothing is interrupted in the middle of a write. A second Ctrl-C interrupts at once; even then
nothing half-written counts, since a shard means nothing before its commit record exists.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody asked to stop, and whether that may interrupt right now.

    Attributes:
        asked: whether somebody did.
    """

    def __init__(self) -> None:
        self.asked = False
        self._deferred = False

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """The signal handler: interrupts at once unless deferred; the second time always."""
        if self.asked or not self._deferred:
            raise KeyboardInterrupt
        self.asked = True

    def check(self) -> None:
        """Raises KeyboardInterrupt when somebody asked to stop."""
        if self.asked:
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
def interruption() -> Iterator[Interruption]:
    """Handles the signals inside the block; does nothing outside the main thread."""
    asked = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, asked.handle) for number in _SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
