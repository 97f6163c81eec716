"""What it looks like when vLLM's process dies, in words to act on."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from threading import Thread
from time import monotonic
from typing import TypeVar

from schemas.errors import TemporaryError

Answer = TypeVar("Answer")

_POLL = 0.5
_GRACE = 10.0
"""Seconds that a call may go on after a process died: mostly vLLM ends it itself."""
_CANCELLED = "method failed: cancelled"
"""How vLLM ends a call that waits when its process dies; it has no class of its own."""


@contextmanager
def explained_death() -> Iterator[None]:
    """Around whatever talks with vLLM's process.

    Raises:
        TemporaryError: it died.
    """
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except Exception as error:
        if not isinstance(error, EngineDeadError) and not str(error).endswith(_CANCELLED):
            raise
        raise TemporaryError(
            f"vLLM's process died: {error} Its own log says why; often memory ran out. "
            "Finished units are kept: run the same command again to go on."
        ) from error


def engine_processes() -> list[BaseProcess]:
    """Those of this process's children that vLLM runs its engine in; none where it runs here."""
    return [child for child in active_children() if child.name.startswith("EngineCore")]


def while_alive(call: Callable[[], Answer], processes: Sequence[BaseProcess]) -> Answer:
    """What `call` returns, unless a process of vLLM's dies: vLLM may then wait for ever.

    Without processes the call runs in this thread, where the model is.

    Raises:
        TemporaryError: a process died, and the call did not end.
    """
    if not processes:
        return call()
    outcome: Future[Answer] = Future()
    Thread(target=_settle, args=(outcome, call), daemon=True).start()
    patience = monotonic() + _GRACE
    while monotonic() < patience:
        if all(process.is_alive() for process in processes):
            patience = monotonic() + _GRACE
        try:
            return outcome.result(timeout=_POLL)
        except TimeoutError:
            if outcome.done():
                raise
    raise TemporaryError(
        "vLLM's process died, and what it was asked was never answered. Its own log says why; "
        "often memory ran out. Finished units are kept: run the same command again to go on."
    )


def _settle(outcome: Future[Answer], call: Callable[[], Answer]) -> None:
    try:
        outcome.set_result(call())
    except BaseException as error:  # raised again by whoever waits for the answer
        outcome.set_exception(error)
