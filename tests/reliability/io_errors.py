"""Every call × every error that the manual gives for it; and disks that fill up anywhere."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

from schemas.errors import PotstillError
from tests.reliability.campaign import Outcome, Tier, scratch
from tests.reliability.kills import Worker, closing, whole_worker
from tests.reliability.small_dump import Acknowledged, few_racers, problems, recovered
from tests.shimmed_os import CALLS, Happening, ShimmedOs

_ALWAYS = (errno.EIO, errno.ESTALE)
_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NAMES = (errno.EACCES, errno.EROFS)
ERRORS: dict[str, tuple[int, ...]] = {
    "open": (*_ALWAYS, *_SPACE, *_NAMES, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT),
    "write": (*_ALWAYS, *_SPACE, errno.EFBIG, errno.ETIMEDOUT),
    "read": (*_ALWAYS, errno.ETIMEDOUT),
    "fsync": (*_ALWAYS, *_SPACE),
    "close": (*_ALWAYS, *_SPACE),
    "rename": (*_ALWAYS, *_SPACE, *_NAMES, errno.ETIMEDOUT),
    "link": (*_ALWAYS, *_SPACE, *_NAMES, errno.EEXIST, errno.EMLINK, errno.ETIMEDOUT),
    "unlink": (*_ALWAYS, *_NAMES, errno.EBUSY, errno.ENOENT),
    "mkdir": (*_ALWAYS, *_SPACE, *_NAMES, errno.EEXIST),
    "listdir": (*_ALWAYS, errno.EACCES, errno.EMFILE),
    "lstat": (*_ALWAYS, errno.EACCES),
}
"""What the manual pages and NFS give; all calls of `ShimmedOs` are here."""

WAYS = (("before", "once"), ("after", "once"), ("before", "sticky"), ("after", "sticky"))
BUDGETS: dict[Tier, int] = {"pr": 200, "nightly": 1_000, "release": 2_000}


def io_errors(tier: Tier) -> Outcome:
    """All pairs, instead of the call or although it was done, once or from then on."""
    return error_campaign(whole_worker, WAYS)


def disk_full(tier: Tier) -> Outcome:
    """Budgets spread evenly over the bytes, then over the files, that a whole dump takes."""
    return budget_campaign(whole_worker, BUDGETS[tier])


def error_campaign(worker: Worker, ways: tuple[tuple[str, str], ...]) -> Outcome:
    """The same for any worker."""
    outcome = Outcome()
    with scratch() as folder, few_racers():
        shim = ShimmedOs()
        worker(folder / "dry", shim, Acknowledged())
        kinds = [name for name, _, _ in shim.trace]
        outcome.figures["calls"] = len(kinds)
        for point, kind in enumerate(kinds):
            for number in ERRORS[kind]:
                for moment, lasting in ways:
                    if number == errno.EEXIST and lasting == "sticky":
                        continue  # no failure: a name that is always there is another's for ever
                    happening = failing(point, kind, number, lasting == "sticky")
                    where = f"{errno.errorcode[number]} {moment} {kind}, call {point}, {lasting}"
                    outcome.count(f"{moment} the call, {lasting}")
                    _try(outcome, folder / "d", worker, (ShimmedOs(**{moment: happening}), where))
    return outcome


def failing(point: int, kind: str, number: int, sticky: bool) -> Happening:
    """An error at a call; or at that one and every later one of its kind."""

    def happen(count: int, name: str, args: tuple[Any, ...]) -> None:
        if name == kind and (count == point or (sticky and count > point)):
            raise OSError(number, os.strerror(number), str(args[0]) if args else "")

    return happen


class SmallDisk(ShimmedOs):
    """A disk with room for so many bytes, or so many new names; a write may fit in part."""

    def __init__(self, room: int, of: str) -> None:
        super().__init__()
        self.room = room
        self._of = of

    def _call(self, name: str, args: tuple[Any, ...]) -> Any:
        if self._of == "bytes" and name == "write":
            args = (args[0], args[1][: self.room])
            self._take(len(args[1]) or self.room + 1)
        if self._of == "names" and self._makes_a_name(name, args):
            self._take(1)
        return super()._call(name, args)

    def _take(self, much: int) -> None:
        if much > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= much

    def _makes_a_name(self, name: str, args: tuple[Any, ...]) -> bool:
        return name in ("mkdir", "link") or (name == "open" and bool(args[1] & os.O_CREAT))


def budget_campaign(worker: Worker, budgets: int) -> Outcome:
    """The same for any worker."""
    outcome, plenty = Outcome(), 1 << 40
    with scratch() as folder, few_racers():
        for of in ("bytes", "names"):
            dry = SmallDisk(plenty, of)
            worker(folder / f"dry-{of}", dry, Acknowledged())
            needed = plenty - dry.room
            for budget in range(budgets):
                disk = SmallDisk(needed * budget // budgets, of)
                outcome.count(f"budgets of {of}")
                _try(outcome, folder / "d", worker, (disk, f"room for {disk.room} {of}"))
    return outcome


def _try(outcome: Outcome, path: Path, worker: Worker, at: tuple[ShimmedOs, str]) -> None:
    """Ends well or with an error of ours; what was acknowledged stays; the next worker finishes."""
    shim, where = at
    told = Acknowledged()
    with closing(shim):
        try:
            worker(path, shim, told)
        except PotstillError as error:
            if len(str(error)) < 40:
                outcome.violate(where, [f"says only {error}"])
        except Exception as error:
            outcome.violate(where, [f"{type(error).__name__}: {error}"])
    outcome.violate(where, problems(path, told))
    outcome.violate(where, recovered(path))
    shutil.rmtree(path, ignore_errors=True)


def unlisted() -> set[str]:
    """Calls of which it is not said what errors they give: there must be none."""
    return CALLS - set(ERRORS)
