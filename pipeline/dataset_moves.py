"""What push and pull share: what they report, and what they refuse."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.dataset_files import DumpFile, Tick
from schemas.errors import ConflictError, InputError, PotstillError, TemporaryError
from schemas.progress import Progress, Report
from schemas.storage import FULL
from schemas.store_failures import CREDENTIALS_ADVICE, lacks_credentials, refuses

_SHOWN = 3
_QUOTA = ("quota", "storage limit", "no space", "entitytoolarge", "insufficient storage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What was copied.

    Attributes:
        source: the dump.
        target: where its copy is.
        identity: its manifest's.
        files: how many files it has.
        copied: those that were missing there, or would have been copied.
        bytes: their size.
        dry_run: whether nothing was copied in fact.
    """

    source: str
    target: str
    identity: str
    files: int
    copied: list[str]
    bytes: int
    dry_run: bool


def ticker(stage: str, files: Sequence[DumpFile], report: Report) -> Tick:
    """Reports bytes."""
    total = sum(file.bytes for file in files)
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        report(Progress(stage=stage, done=done, total=total, unit="bytes"))

    return tick


def conflict(place: str, found: Sequence[str], option: str) -> ConflictError:
    """The error for a place that holds something else."""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ConflictError(
        f"{place} holds something else: {', '.join(found[:_SHOWN])}{more}. Nothing was written. "
        f"Choose another {option}."
    )


def push_failure(error: BaseException, place: str, copied: int, missing: int) -> PotstillError:
    """What a user is told when copying to `place` ended after `copied` of `missing` files."""
    text = str(error).lower()
    goes_on = (
        f"{copied} of {missing} files were copied and stay; the same command goes on with the rest."
    )
    if getattr(error, "errno", None) in FULL or any(word in text for word in _QUOTA):
        return InputError(
            f"there is no room for the dump in {place}: {error}. Free some, or have the quota "
            f"raised. {goes_on}"
        )
    if lacks_credentials(error) or refuses(error) or getattr(error, "errno", None) == errno.EACCES:
        return InputError(f"{place} may not be written: {error}. {CREDENTIALS_ADVICE} {goes_on}")
    return TemporaryError(f"copying to {place} failed: {error}. {goes_on}")
