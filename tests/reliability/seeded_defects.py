"""Defects put into the program on purpose. A campaign that no defect can fail proves nothing.

Every defect is a patch of one function, and names the campaign that must see it; the campaign runs
in a smaller size, once without the defect, when it must see nothing, and once with it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from schemas import layout, strict_json
from schemas.storage_posix import PosixStore
from stage1_teacher.commit_attempt import Attempt
from stage1_teacher.commit_final import Finaliser
from tests.reliability import attacks_files, attacks_manifest, io_errors
from tests.reliability.campaign import Outcome, Tier, scratch
from tests.reliability.flips import json_flips, record_of
from tests.reliability.hostile import attack_campaign
from tests.reliability.interleavings import TWO, TWO_AND_END, Bounds, explore, quiet
from tests.reliability.io_errors import budget_campaign, error_campaign
from tests.reliability.kills import whole_worker
from tests.reliability.power_loss import power_campaign
from tests.reliability.races import race_campaign

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """What is wrong, how it is put there, and which campaign must see it."""

    says: str
    patch: Patch
    seen_by: str


def _power() -> Outcome:
    return power_campaign(2)


def _orders() -> Outcome:
    quiet()
    outcome = Outcome()
    explore(outcome, "two workers", TWO, Bounds(faults=2, deaths=1))
    explore(outcome, "two workers and the end", TWO_AND_END, Bounds(faults=0, deaths=1))
    return outcome


def _errors() -> Outcome:
    with mock.patch.object(io_errors, "ERRORS", dict.fromkeys(io_errors.ERRORS, (5,))):
        return error_campaign(whole_worker, (("before", "once"), ("after", "once")))


def _racing() -> Outcome:
    outcome = Outcome()
    race_campaign(outcome, 4, PosixStore)
    return outcome


def _records() -> Outcome:
    outcome = Outcome()
    with scratch() as folder:
        data, look = record_of(folder / "d")
        json_flips(outcome, "commit record", data, look, 600)
    return outcome


def _attacks(kind: str, family: dict[str, Any], names: tuple[str, ...]) -> Callable[[], Outcome]:
    return lambda: attack_campaign({kind: {name: family[name] for name in names}})


CAMPAIGNS: dict[str, Callable[[], Outcome]] = {
    "power_loss": _power,
    "interleavings": _orders,
    "io_errors": _errors,
    "disk_full": lambda: budget_campaign(whole_worker, 40),
    "races": _racing,
    "flips": _records,
    "hostile manifests": _attacks(
        "manifests",
        attacks_manifest.MANIFESTS,
        ("a key twice", "an infinity", "a wrong identity", "a unit twice", "a link to a secret"),
    ),
    "hostile names": _attacks("names", attacks_manifest.NAMES, ("upwards", "a line end behind it")),
    "hostile files": _attacks(
        "files", attacks_files.FILES, ("a shard is a link to a secret", "a shard is a pipe")
    ),
    "hostile Parquet": _attacks(
        "Parquet", attacks_files.PARQUET, ("an Arrow schema", "dictionaries", "a bomb of text")
    ),
    "hostile numbers": _attacks(
        "numbers", attacks_files.VALUES, ("a token outside the head", "NaN among the logits")
    ),
}


def seeded_defects(tier: Tier) -> Outcome:
    """Every defect; and every campaign without one."""
    outcome = Outcome()
    for name, campaign in CAMPAIGNS.items():
        outcome.violate(f"without a defect: {name}", campaign().violations[:3])
    for defect in DEFECTS:
        with _quiet_output(), defect.patch():
            found = _caught(CAMPAIGNS[defect.seen_by])
        outcome.count(f"caught by {defect.seen_by}" if found else "not caught")
        if not found:
            outcome.violate(defect.says, [f"{defect.seen_by} does not see it"])
    return outcome


def _caught(campaign: Callable[[], Outcome]) -> bool:
    try:
        return bool(campaign().violations)
    except Exception:  # the defect broke the worker that the campaign first runs undisturbed
        return True


@contextlib.contextmanager
def _quiet_output() -> Iterator[None]:
    """Workers with defects print how they fail."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _method(owner: Any, name: str, new: Callable[..., Any]) -> Patch:
    return lambda: mock.patch.object(owner, name, new)


def _without_fsync(of: str) -> Patch:
    """PosixStore whose fsync of some paths does nothing; the path is that of the descriptor."""
    original = PosixStore.__init__

    def init(self: PosixStore, root: str | Path, calls: Any = os) -> None:
        original(self, root, _Dropping(calls, of))

    return _method(PosixStore, "__init__", init)


class _Dropping:
    """The system's calls, but fsync of what matches does nothing."""

    def __init__(self, calls: Any, of: str) -> None:
        self._calls = calls
        self._of = of
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._calls, name)

    def open(self, path: str, *args: Any) -> int:
        fd: int = self._calls.open(path, *args)
        self._paths[fd] = path
        return fd

    def fsync(self, fd: int) -> None:
        path = self._paths.get(fd, "")
        if not _matches(path, self._of):
            self._calls.fsync(fd)


def _matches(path: str, of: str) -> bool:
    name = path.rpartition("/")[2]
    temporary = name.endswith(".tmp")
    return {
        "shards": temporary and name.startswith(".part-"),
        "records": temporary and ".json" in name and f"/{layout.COMMITS}/" in path,
        "manifest": temporary and name.startswith(".manifest"),
        "the folder of shards": name in (layout.DATA, layout.HIDDEN),
        "the folder of records": f"/{layout.COMMITS}/" in path and not temporary,
        "the folder of the manifest": name in ("dump", "after", "dry"),
    }[of]


def _exists_then_write(self: PosixStore, name: str, data: bytes) -> bool:
    if self.size(name) is not None:
        return False
    os.sched_yield()
    self.replace(name, data)
    return True


def _overwrites(self: PosixStore, name: str, data: bytes) -> bool:
    self.replace(name, data)
    return True


def _in_place(self: PosixStore, name: str, data: bytes) -> bool:
    """Creates the file under its own name, then writes."""
    self._make_folder((self.root / name).parent)
    try:
        fd = self.begin(name)
    except FileExistsError:
        return False
    self.write_all(fd, memoryview(data))
    self.calls.fsync(fd)
    self.calls.close(fd)
    self.sync_folder(name)
    return True


def _one_write(self: PosixStore, fd: int, data: memoryview) -> None:
    self.calls.write(fd, data)


def _no_read_back(store: Any, name: str, data: bytes) -> bytes:
    """Believes what the store says."""
    if store.create(name, data):
        return data
    found = store.read(name)
    return found if found is not None else b""


def _record_first(self: Attempt, counts: Any) -> bool:
    won = self._create_record(counts)
    for file in self._files.values():
        file.publish()
    return won


def _deletes_always(self: Attempt, *error: Any) -> None:
    if error[0] is not None or not self._record_created:
        self._discard()


def _trusts_itself(self: Attempt, counts: Any) -> bool:
    for file in self._files.values():
        file.publish()
    self._create_record(counts)
    return True


def _cleans_all(self: Finaliser) -> None:
    """Removes every shard that no record names, also of units that are still computed."""
    named = {record.shard.name for record in self.records.read(sorted(self.done))}
    for folder in (layout.DATA, layout.HIDDEN):
        for name in self.store.names(folder):
            if name not in named:
                self.store.remove(f"{folder}/{name}")


def _manifest_of_what_is_there(self: Any) -> list[int]:
    """Finishes with the units that there are."""
    return []


def _same_name(unit: int, attempt: str) -> str:
    return f"part-{unit:06d}-ab.parquet"


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


def _no_sum(self: Any) -> Any:
    return self


def _loser_keeps_the_winners(self: Attempt, winner: Any) -> bool:
    """The loser removes the winner's shard instead of its own."""
    self._store.remove(f"{layout.DATA}/{winner.shard.name}")
    return False


def _swallows(self: Any) -> None:
    with contextlib.suppress(OSError):
        _PUBLISH(self)


_PUBLISH: Callable[[Any], None] = __import__(
    "schemas.storage_posix", fromlist=["x"]
).PosixNewFile.publish


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs)


def _follows_links(path: str) -> int:
    return os.stat(path).st_size


def _target(name: str, new: Any) -> Patch:
    return lambda: mock.patch(name, new)


_ATTEMPT, _DUMP = "stage1_teacher.commit_attempt", "schemas.dump_folder"
DEFECTS: tuple[Defect, ...] = (
    *(
        Defect(says=f"no fsync of {of}", patch=_without_fsync(of), seen_by="power_loss")
        for of in (
            *("shards", "records", "manifest"),
            *("the folder of shards", "the folder of records", "the folder of the manifest"),
        )
    ),
    Defect(
        says="a record is looked for, then written",
        patch=_method(PosixStore, "create", _exists_then_write),
        seen_by="races",
    ),
    Defect(
        says="a record replaces an older one",
        patch=_method(PosixStore, "create", _overwrites),
        seen_by="races",
    ),
    Defect(
        says="a record is written in place",
        patch=_method(PosixStore, "create", _in_place),
        seen_by="power_loss",
    ),
    Defect(
        says="a short write is not continued",
        patch=_method(PosixStore, "write_all", _one_write),
        seen_by="disk_full",
    ),
    Defect(
        says="the store's answer is believed, nothing is read back",
        patch=_target("stage1_teacher.commit_records.create_settled", _no_read_back),
        seen_by="interleavings",
    ),
    Defect(
        says="the record comes before the shard",
        patch=_method(Attempt, "commit", _record_first),
        seen_by="interleavings",
    ),
    Defect(
        says="an unknown outcome deletes the shard",
        patch=_method(Attempt, "__exit__", _deletes_always),
        seen_by="interleavings",
    ),
    Defect(
        says="whoever created last thinks that it won",
        patch=_method(Attempt, "commit", _trusts_itself),
        seen_by="interleavings",
    ),
    Defect(
        says="the loser removes the winner's shard",
        patch=_method(Attempt, "_lost", _loser_keeps_the_winners),
        seen_by="interleavings",
    ),
    Defect(
        says="tidying removes shards of units that are still computed",
        patch=_method(Finaliser, "clean", _cleans_all),
        seen_by="interleavings",
    ),
    Defect(
        says="a dump is finished without the missing units",
        patch=_target("stage1_teacher.commit.Work.missing", _manifest_of_what_is_there),
        seen_by="interleavings",
    ),
    Defect(
        says="all attempts at a unit share a name",
        patch=_target("schemas.layout.shard_name", _same_name),
        seen_by="interleavings",
    ),
    Defect(
        says="an error while a shard is made durable is swallowed",
        patch=_target("schemas.storage_posix.PosixNewFile.publish", _swallows),
        seen_by="io_errors",
    ),
    Defect(
        says="records are not checked against their checksum",
        patch=_target("schemas.plan.Sealed.sealed", _no_sum),
        seen_by="flips",
    ),
    Defect(
        says="a key may appear twice",
        patch=_method(strict_json, "_unique", _plain),
        seen_by="hostile manifests",
    ),
    Defect(
        says="a manifest is not compared with its hashes",
        patch=_target(f"{_DUMP}._check_manifest", _nothing),
        seen_by="hostile manifests",
    ),
    Defect(
        says="links are followed to a manifest, and pipes waited for",
        patch=_target("schemas.dump_search._check_regular", _nothing),
        seen_by="hostile manifests",
    ),
    Defect(
        says="links are followed to a shard, and pipes waited for",
        patch=_target("schemas.verify_shard.regular_size", _follows_links),
        seen_by="hostile files",
    ),
    Defect(
        says="footers are not looked at before Arrow opens a shard",
        patch=_target("schemas.shard_reading._check_claims", _nothing),
        seen_by="hostile Parquet",
    ),
    Defect(
        says="numbers are not checked",
        patch=_target("schemas.value_ranges._problems", lambda table, settings: iter(())),
        seen_by="hostile numbers",
    ),
)
