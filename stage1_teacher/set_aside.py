"""Samples that failed: set aside with the reason, up to what `--max-failed` allows.

What fails with others is tried once more alone, so one bad sample costs no good one. Errors that
say something of the run and not of a sample (the disk, the store, an option) are never set aside.
"""

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from schemas import layout
from schemas.errors import (
    ConfigError,
    ConflictError,
    InputError,
    PotstillError,
    StoppedError,
    TemporaryError,
)
from schemas.plan import CommitRecord

_log = logging.getLogger(__name__)

_OF_THE_RUN = (ConfigError, ConflictError, StoppedError, TemporaryError)
_PLACE = re.compile(r"(?<![\w/])(?:[a-z][a-z0-9+.-]*://|/)(?:[^\s/'\"]+/)+")
_LONGEST = 500

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A sample, or a corpus row, that was set aside.

    Attributes:
        id: of the sample, or of the row.
        step: "read" (the corpus row), "teacher" or "store" (numbers that no reader would take).
        reason: the error, without folders of this machine.
    """

    id: str
    step: str
    reason: str


class Aside:
    """What was set aside of one unit.

    Args of the constructor:
        allowed: samples that may fail in the whole dump; 0 sets nothing aside, errors go through.
        elsewhere: counts those of the units that are committed.
    """

    def __init__(self, allowed: int, elsewhere: Callable[[], int] = lambda: 0) -> None:
        self.failures: list[Failure] = []
        self._allowed = allowed
        self._elsewhere = elsewhere

    @property
    def active(self) -> bool:
        """Whether anything may be set aside at all."""
        return self._allowed > 0

    def add(self, sample: str, step: str, error: Exception) -> None:
        """Sets a sample aside.

        Raises:
            InputError: these are more than may fail.
        """
        self.extend([failure(sample, step, error)])

    def extend(self, failures: Iterable[Failure]) -> None:
        """Adds what was set aside already; raises as `add`."""
        new = list(failures)
        for found in new:
            _log.warning("set aside: %s (%s): %s", found.id, found.step, found.reason)
        self.failures += new
        count = len(self.failures) + (self._elsewhere() if new else 0)
        if count > self._allowed:
            raise too_many(count, self._allowed, self.failures[-1])

    def lines(self) -> bytes:
        """The failures as JSON lines."""
        return json_lines(self.failures)


def failure(sample: str, step: str, error: Exception) -> Failure:
    """What is kept of an error: one line, no folders."""
    name = "" if isinstance(error, PotstillError) else f"{type(error).__name__}: "
    text = " ".join(f"{name}{error}".split())
    return Failure(id=sample, step=step, reason=_PLACE.sub("", text)[:_LONGEST])


def too_many(count: int, allowed: int, last: Failure) -> InputError:
    """The error that ends a dump whose budget is spent."""
    return InputError(
        f"{count:,} samples failed, and --max-failed allows {allowed:,}. The last one was "
        f"{last.id} ({last.step}): {last.reason} Mend what makes them fail, or raise --max-failed, "
        "and run the same command again: finished units are kept."
    )


def check_budget(records: Mapping[int, CommitRecord], allowed: int) -> None:
    """Checks the sum over all units, which several workers may have overdrawn together.

    Raises:
        InputError: more failed than may.
    """
    count = failed(records)
    if count > allowed:
        raise InputError(
            f"{count:,} samples were set aside, and --max-failed allows {allowed:,}; "
            f"{layout.SET_ASIDE}/ in the dump says why. Raise --max-failed and run the same "
            "command again: it finishes the dump without them."
        )


def answered(
    ask: Callable[[Sequence[Asked]], Iterator[tuple[int, Answer]]],
    asked: Sequence[Asked],
    name: Callable[[Asked], str],
    aside: Aside,
) -> Iterator[tuple[int, Answer]]:
    """Yields what `ask(asked)` yields; where that fails, asks for the rest one by one.

    Raises:
        InputError: more fail than may.
        Exception: nothing may be set aside, or the error is of the run.
    """
    if not aside.active:
        yield from ask(asked)
        return
    done: set[int] = set()
    try:
        for index, answer in ask(asked):
            done.add(index)
            yield index, answer
        return
    except _OF_THE_RUN:
        raise
    except Exception as error:  # models raise anything; which sample it is shows one by one
        _log.warning("the teacher failed (%s); trying its samples one by one", error)
    for index in sorted(set(range(len(asked))) - done):
        yield from ((index, answer) for answer in _alone(ask, asked[index], name, aside))


def _alone(
    ask: Callable[[Sequence[Asked]], Iterator[tuple[int, Answer]]],
    one: Asked,
    name: Callable[[Asked], str],
    aside: Aside,
) -> list[Answer]:
    try:
        return [answer for _, answer in ask([one])]
    except _OF_THE_RUN:
        raise
    except Exception as error:  # counted against the budget, its reason written down
        aside.add(name(one), "teacher", error)
        return []


def shard_file(shard: str) -> str:
    """Where the failures of a shard lie, by the shard's name."""
    return f"{layout.SET_ASIDE}/{shard.removesuffix('.parquet')}.jsonl"


def failed(records: Mapping[int, CommitRecord]) -> int:
    """Samples set aside in committed units."""
    return sum(record.shard.failed for record in records.values())


def json_lines(failures: Iterable[Failure]) -> bytes:
    """One object per line."""
    return "".join(json.dumps(asdict(f), ensure_ascii=False) + "\n" for f in failures).encode()
