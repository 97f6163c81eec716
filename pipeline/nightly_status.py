"""What a night tells machines: status.json, a line in log.jsonl, and one POST to a webhook."""

import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pipeline.nightly_folder import LOG, STATUS, NightlyFolder, write_json

_log = logging.getLogger(__name__)

_TRIES = 3
_TIMEOUT_SECONDS = 10.0

State = Literal["running", "done", "nothing new", "set aside", "failed", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """status.json.

    Attributes:
        state: how it went, in a word.
        exit_code: of the process; null while it runs.
        message: one sentence for people.
        started: UTC, ISO 8601.
        seconds: since then.
        new_rows: rows of the corpus that no dump had.
        known_rows: rows that some dump has.
        dumps: dumps that were made or finished.
        pid: of the process.
    """

    state: State = "running"
    exit_code: int | None = None
    message: str = "works"
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds: float = 0.0
    new_rows: int = 0
    known_rows: int = 0
    dumps: tuple[Mapping[str, Any], ...] = ()
    pid: int = field(default_factory=os.getpid)


class StatusBook:
    """Keeps the status of one run, on disk all the time.

    Args of the constructor:
        folder: where.
        post: tells somebody the end; see `poster`.
    """

    def __init__(
        self, folder: NightlyFolder, post: Callable[[Mapping[str, Any]], None] | None
    ) -> None:
        self.status = Status()
        self._folder = folder
        self._post = post
        self._began = time.monotonic()
        self._write()

    def note(self, **changes: Any) -> None:
        """Changes some of the status."""
        seconds = round(time.monotonic() - self._began, 1)
        self.status = replace(self.status, seconds=seconds, **changes)
        self._write()

    def close(self, state: State, exit_code: int, message: str) -> None:
        """The end: the status, a line in the log, the webhook. Never raises."""
        self.note(state=state, exit_code=exit_code, message=message)
        told = asdict(self.status)
        try:
            with (self._folder.work / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(told, ensure_ascii=False) + "\n")
        except OSError as error:
            _log.warning("%s could not be written: %s", LOG, error.strerror)
        if self._post is not None:
            self._post(told)

    def _write(self) -> None:
        """The status must not hide what it is about: a full disk is told in its own words."""
        try:
            write_json(self._folder.work / STATUS, asdict(self.status))
        except OSError as error:
            _log.warning("%s could not be written: %s", STATUS, error.strerror)


def poster(
    address: str, sleep: Callable[[float], None] = time.sleep
) -> Callable[[Mapping[str, Any]], None]:
    """One JSON POST, tried three times; a failure is a warning, without the address in it."""

    def post(told: Mapping[str, Any]) -> None:
        request = urllib.request.Request(
            address,
            data=json.dumps(told, ensure_ascii=False).encode(),
            headers={"Content-Type": "application/json"},
        )
        for attempt in range(_TRIES):
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):
                    return
            except (OSError, ValueError) as error:
                reason = getattr(error, "reason", None) or type(error).__name__
            if attempt + 1 < _TRIES:
                sleep(2.0**attempt)
        _log.warning("the webhook could not be told, %d tries: %s", _TRIES, reason)

    return post
