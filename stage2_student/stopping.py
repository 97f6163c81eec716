"""Ctrl-C and SIGTERM while training become a flag that is looked at between steps.

So the step ends, a checkpoint is saved, and only then the process stops. A later signal, or one
outside of training, interrupts at once. One right behind the first does not: torchrun hands on what
the terminal or Slurm has sent to its workers already.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ECHO_SECONDS = 2.0
"""A signal so soon after the first is the same request."""


class StopRequest:
    """Whether somebody asked to stop.

    Attributes:
        asked: whether somebody did.
        training: whether a request waits for the end of a step.
    """

    def __init__(self) -> None:
        self.asked = False
        self.training = False
        self._asked_at = 0.0

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """The signal handler."""
        if self.asked and time.monotonic() - self._asked_at < _ECHO_SECONDS:
            return
        if self.asked or not self.training:
            raise KeyboardInterrupt
        self.asked, self._asked_at = True, time.monotonic()


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Handles the signals inside the block; does nothing outside the main thread."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.handle) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
