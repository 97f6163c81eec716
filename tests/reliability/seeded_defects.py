"""Defects put into the program on purpose. A campaign that no defect can fail proves nothing.

Every defect is a patch of one function, and names the campaign that must see it; the campaign runs
in a smaller size, once without the defect, when it must see nothing, and once with it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from schemas import strict_json
from schemas.storage_posix import PosixStore
from stage1_teacher.commit_attempt import Attempt
from stage1_teacher.commit_committed import Committed
from stage1_teacher.commit_final import Finaliser
from tests.reliability import attacks_files, attacks_manifest, io_errors
from tests.reliability.campaign import Outcome, Tier, scratch
from tests.reliability.defect_patches import (
    Patch,
    both,
    cleans_all,
    deletes_always,
    exists_then_write,
    follows_links,
    in_place,
    loser_keeps_the_winners,
    manifest_of_what_is_there,
    method,
    no_read_back,
    no_sum,
    nothing,
    one_write,
    overwrites,
    plain,
    record_first,
    same_name,
    swallows,
    target,
    trusts_itself,
    without_fsync,
)
from tests.reliability.flips import json_flips, record_of
from tests.reliability.hostile import attack_campaign
from tests.reliability.interleavings import TWO, TWO_AND_END, Bounds, explore, quiet
from tests.reliability.io_errors import budget_campaign, error_campaign
from tests.reliability.kills import whole_worker
from tests.reliability.power_loss import power_campaign
from tests.reliability.races import race_campaign


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


class Seen(BaseException):
    """A campaign found something; nothing catches it on its way."""


def _caught(campaign: Callable[[], Outcome]) -> bool:
    """Whether it finds anything: it ends with the first violation."""

    def violate(outcome: Outcome, where: str, problems: list[str]) -> None:
        if problems:
            raise Seen

    try:
        with mock.patch.object(Outcome, "violate", violate):
            return bool(campaign().violations)
    except (Seen, Exception):  # or the defect broke the worker that is first run undisturbed
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


DEFECTS: tuple[Defect, ...] = (
    *(
        Defect(says=f"no fsync of {of}", patch=without_fsync(of), seen_by="power_loss")
        for of in (
            *("shards", "records", "manifest"),
            *("the folder of shards", "the folder of records", "the folder of the manifest"),
        )
    ),
    Defect(
        says="a record is looked for, then written",
        patch=method(PosixStore, "create", exists_then_write),
        seen_by="races",
    ),
    Defect(
        says="a record replaces an older one",
        patch=method(PosixStore, "create", overwrites),
        seen_by="races",
    ),
    Defect(
        says="a record is written in place",
        patch=method(PosixStore, "create", in_place),
        seen_by="power_loss",
    ),
    Defect(
        says="a short write is not continued",
        patch=method(PosixStore, "write_all", one_write),
        seen_by="disk_full",
    ),
    Defect(
        says="the store's answer is believed, nothing is read back",
        patch=target("stage1_teacher.commit_records.create_settled", no_read_back),
        seen_by="interleavings",
    ),
    Defect(
        says="the record comes before the shard",
        patch=method(Attempt, "commit", record_first),
        seen_by="interleavings",
    ),
    Defect(
        says="an unknown outcome deletes the shard",
        patch=method(Attempt, "__exit__", deletes_always),
        seen_by="interleavings",
    ),
    Defect(
        says="whoever created last thinks that it won",
        patch=method(Attempt, "commit", trusts_itself),
        seen_by="interleavings",
    ),
    Defect(
        says="the loser removes the winner's shard",
        patch=method(Attempt, "_lost", loser_keeps_the_winners),
        seen_by="interleavings",
    ),
    Defect(
        says="tidying removes shards of units that are still computed",
        patch=method(Finaliser, "clean", cleans_all),
        seen_by="interleavings",
    ),
    Defect(
        says="a dump is finished without the missing units",
        patch=both(
            target("stage1_teacher.commit.Work.missing", manifest_of_what_is_there),
            method(Committed, "_every_unit", Committed._assembled),
        ),
        seen_by="interleavings",
    ),
    Defect(
        says="all attempts at a unit share a name",
        patch=target("schemas.layout.shard_name", same_name),
        seen_by="interleavings",
    ),
    Defect(
        says="an error while a shard is made durable is swallowed",
        patch=target("schemas.storage_posix.PosixNewFile.publish", swallows),
        seen_by="io_errors",
    ),
    Defect(
        says="records are not checked against their checksum",
        patch=target("schemas.plan.Sealed.sealed", no_sum),
        seen_by="flips",
    ),
    Defect(
        says="a key may appear twice",
        patch=method(strict_json, "_unique", plain),
        seen_by="hostile manifests",
    ),
    Defect(
        says="a manifest is not compared with its hashes",
        patch=target("schemas.dump_folder._check_manifest", nothing),
        seen_by="hostile manifests",
    ),
    Defect(
        says="links are followed to a manifest, and pipes waited for",
        patch=target("schemas.dump_search._check_regular", nothing),
        seen_by="hostile manifests",
    ),
    Defect(
        says="links are followed to a shard, and pipes waited for",
        patch=target("schemas.verify_shard.regular_size", follows_links),
        seen_by="hostile files",
    ),
    Defect(
        says="footers are not looked at before Arrow opens a shard",
        patch=target("schemas.shard_reading._check_claims", nothing),
        seen_by="hostile Parquet",
    ),
    Defect(
        says="numbers are not checked",
        patch=target("schemas.value_ranges._problems", lambda table, settings: iter(())),
        seen_by="hostile numbers",
    ),
)
