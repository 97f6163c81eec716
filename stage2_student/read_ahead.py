"""The next items of an iterator, made in a thread while the present one is used."""

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

_PATIENCE = 0.1
"""Seconds between two looks whether anybody still listens."""


@dataclass(frozen=True, slots=True)
class _End:
    """The last thing in the queue: the iterator ended, or failed with `error`."""

    error: BaseException | None = None


def read_ahead(source: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """Yields the items of `source`, of which up to `depth` are ready in advance.

    An error of `source` is raised here, in its place. Closing this iterator ends the thread.
    """
    ready: queue.Queue[Item | _End] = queue.Queue(depth)
    stopped = threading.Event()
    thread = threading.Thread(target=_fill, args=(source, ready, stopped), daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()


def with_next(source: Iterator[Item]) -> Iterator[tuple[Item, Item | None]]:
    """Every item with the one after it, None for the last.

    An error of `source` is raised in the place of the item that it is instead of.
    """
    present = next(source, None)
    while present is not None:
        error: Exception | None = None
        try:
            following = next(source, None)
        except Exception as raised:
            following, error = None, raised
        yield present, following
        if error is not None:
            raise error
        present = following


def _fill(
    source: Iterator[Item], ready: "queue.Queue[Item | _End]", stopped: threading.Event
) -> None:
    try:
        for item in source:
            if not _put(item, ready, stopped):
                return
        _put(_End(), ready, stopped)
    except BaseException as error:
        _put(_End(error), ready, stopped)
    finally:
        if isinstance(source, Generator):
            source.close()  # here, so that what it holds is let go before anybody goes on


def _put(item: Item | _End, ready: "queue.Queue[Item | _End]", stopped: threading.Event) -> bool:
    while not stopped.is_set():
        try:
            ready.put(item, timeout=_PATIENCE)
            return True
        except queue.Full:
            continue
    return False
