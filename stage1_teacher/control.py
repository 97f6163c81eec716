"""Pausing, resuming and stopping a running dump from anywhere that can write to its folder.

A request is one small file in the dump. Workers look at it between samples, at most every
`LOOK_SECONDS`. A pause holds for whoever runs or comes; a stop is for those who run: a worker that
finds one when it begins takes it for an old one and goes on.
"""

import secrets
import time
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from schemas import layout
from schemas.errors import InputError, StoppedError
from schemas.manifest import Strict
from schemas.plan import Plan
from schemas.progress import Progress, Report
from schemas.storage import Store, explained
from schemas.storages import open_store
from schemas.strict_json import json_bytes, parse_model
from stage1_teacher.interruption import Interruption

LOOK_SECONDS = 5.0
_WAIT_SECONDS = 0.5

Verb = Literal["pause", "stop"]


class Request(Strict):
    """control.json; `id` tells two requests of the same kind apart."""

    verb: Verb
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


def request_at(store: Store) -> Request | None:
    """What was asked for last, or None.

    Raises:
        DamagedError: the file is not what potstill writes.
    """
    data = store.read(layout.CONTROL)
    return None if data is None else parse_model(Request, data, layout.CONTROL)


def ask(dump: str, verb: Verb) -> None:
    """Asks all workers of a dump to pause or to stop.

    Raises:
        InputError: there is no unfinished dump, or it may not be written to.
    """
    store = _unfinished(dump)
    with explained(dump):
        store.replace(layout.CONTROL, json_bytes(Request(verb=verb, id=secrets.token_hex(8))))


def withdraw(dump: str) -> bool:
    """Lets workers go on; whether anything was asked of them.

    Raises:
        InputError: there is no unfinished dump, or it may not be written to.
    """
    store = _unfinished(dump)
    with explained(dump):
        found = store.read(layout.CONTROL) is not None
        store.remove(layout.CONTROL)
    return found


def _unfinished(dump: str) -> Store:
    store = open_store(dump)
    with explained(dump):
        if store.size(layout.MANIFEST) is not None:
            raise InputError(f"the dump at {dump} is complete: nobody works on it.")
        plan = store.read(layout.PLAN)
    if plan is None:
        raise InputError(
            f"there is no dump under way at {dump}. Give the folder that `potstill dump --out` "
            "writes to."
        )
    parse_model(Plan, plan, f"{dump}/{layout.PLAN}")
    return store


class Control:
    """What a worker looks at: signals at every check, requests in the dump now and then.

    Args of the constructor:
        store: of the dump.
        asked: the signals.
        report: told of a pause.
        clock: in seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        store: Store,
        asked: Interruption,
        report: Report,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.asked = asked
        self.waited = 0.0
        self._store = store
        self._report = report
        self._clock = clock
        self._sleep = sleep
        self._looked = clock() - LOOK_SECONDS
        found = request_at(store)
        self._old = found.id if found and found.verb == "stop" else None

    def check(self, seconds_left: float = float("inf")) -> None:
        """Looks, when it is time; returns when work may go on.

        Raises:
            KeyboardInterrupt: a signal asked to stop, and the unit would take too long.
            StoppedError: `potstill stop` did.
        """
        self.asked.check(seconds_left)
        if self._clock() - self._looked >= LOOK_SECONDS:
            self.look()

    def look(self) -> None:
        """Looks now, and waits while the dump is paused; raises as `check`."""
        began, told = self._clock(), False
        while self._paused():
            if not told:
                self._tell("paused by `potstill pause`; `potstill resume` lets it go on")
            told = True
            self.asked.check()
            self._sleep(_WAIT_SECONDS)
        if told:
            self._tell("resumed")
            self.waited += self._clock() - began

    def _paused(self) -> bool:
        self._looked = self._clock()
        try:
            found = request_at(self._store)
        except OSError:  # the store did not answer; it is asked again soon
            return False
        if found is None or found.id == self._old:
            return False
        if found.verb == "stop":
            raise StoppedError(
                "stopped by `potstill stop`. Finished units are kept and nothing is half-written: "
                "run the same command again to go on."
            )
        return True

    def _tell(self, message: str) -> None:
        self._report(Progress(stage="dump", message=message))
