"""Every request to an S3 server × everything that may go wrong with it.

The server is moto, a model of S3 and not S3, in a process of its own; the client is the one that
users have, with one retry, since retries are how lost answers become somebody else's objects. A
unit that its only worker loses is a violation, too.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from schemas import layout
from schemas.errors import PotstillError
from schemas.plan import Plan
from schemas.storage_object import ObjectStore
from schemas.strict_json import json_bytes
from stage1_teacher.commit import Work
from tests.reliability.campaign import Outcome, Tier, scratch
from tests.reliability.faulty_proxy import FAULTS, Faulty, faulty_proxy
from tests.reliability.interleavings import PLAN
from tests.reliability.small_dump import (
    CARD,
    UNITS,
    Acknowledged,
    attempt,
    few_racers,
    join,
    problems,
    whole,
)
from tests.stage2_student.object_stores import KEYS, s3_server

WAITS = 0.6
"""Seconds that the client waits for an answer; a stall takes half as long again."""

PLANNED = Plan.model_validate(
    {**PLAN.model_dump(), "units": UNITS, "store_class": "conditional", "checksum": None}
)


def s3_faults(tier: Tier) -> Outcome:
    """Units and the end of a dump; from the nightly tier on also joining, with its probe."""
    outcome, joins = Outcome(), tier != "pr"
    with scratch() as folder, _stores() as (faulty, through, direct):
        _begin(_under(direct, "dry"), joins)
        faulty.plan()
        _worker(_under(through, "dry"), joins)
        seen = faulty.seen
        chosen = set(_different(seen) if tier == "pr" else range(len(seen)))
        outcome.figures["requests of a worker"] = len(seen)
        outcome.figures["requests that met every fault"] = len(chosen)
        for number, request in enumerate(seen):
            for fault in FAULTS if number in chosen else _quiet_faults(request):
                last = f"{fault} at request {number}, {request.partition('?')[0]}"
                outcome.count(fault)
                prefix = f"{number}-{fault.replace(' ', '-')}"
                stores = _under(through, prefix), _under(direct, prefix)
                _begin(stores[1], joins)
                faulty.plan(number, fault)
                outcome.violate(last, _try(stores, folder / "copy", joins, faulty))
    return outcome


def _different(requests: list[str]) -> Iterator[int]:
    """The number of the first of every kind: two units ask for the same, under other names."""
    kinds = set()
    for number, request in enumerate(requests):
        kind = re.sub(r"[0-9a-f]{6,}|/[0-9a-f]{2}/", "#", request)
        if kind not in kinds:
            kinds.add(kind)
            yield number


def _quiet_faults(request: str) -> tuple[str, ...]:
    """What looks like an answer to a request: to a listing, that there is nothing."""
    return ("404",) if "list-type" in request else ()


def _begin(store: ObjectStore, joins: bool) -> None:
    """An empty bucket, with a dump that somebody else began where the worker shall not."""
    store.filesystem.mkdir(store.root.partition("/")[0])
    if not joins:
        store.replace(layout.PLAN, json_bytes(PLANNED))


def _worker(store: ObjectStore, joins: bool, told: Acknowledged | None = None) -> list[str]:
    """Computes what is missing and finishes the dump; says of every unit that it lost."""
    work = join(Path("unused"), store=store) if joins else Work(store, PLANNED)
    missing = work.missing()
    lost = [unit for unit in missing if not attempt(work, unit, "a", told)]
    work.publish(layout.CARD, CARD)
    work.finalise()
    if told:
        told.complete()
    return [f"unit {unit} was lost to nobody" for unit in lost]


def _try(
    stores: tuple[ObjectStore, ObjectStore], copy: Path, joins: bool, faulty: Faulty
) -> list[str]:
    through, direct = stores
    told, found = Acknowledged(), list[str]()
    try:
        found += _worker(through, joins, told)
    except PotstillError as error:
        if len(str(error)) < 40:
            found.append(f"says only {error}")
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
    faulty.plan()
    found += problems(_copied(direct, copy), told)
    try:
        _worker(direct, joins)
    except PotstillError as error:
        return [*found, f"it cannot go on: {error}"]
    return found + whole(_copied(direct, copy))


def _copied(store: ObjectStore, to: Path) -> Path:
    """What is in the bucket, as a folder."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    names = _all_names(store)
    for name, content in zip(names, store.read_many(names), strict=True):
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content or b"")
    return to


def _all_names(store: ObjectStore) -> list[str]:
    try:
        found = store.filesystem.find(store.root)
    except FileNotFoundError:
        return []
    return [path.removeprefix(store.root).lstrip("/") for path in found]


def _under(store: ObjectStore, bucket: str) -> ObjectStore:
    """The same connection, another bucket: moto looks at every object of one to list some."""
    other = object.__new__(type(store))
    other.__dict__.update(store.__dict__)
    other.root = f"{bucket}/x"
    other.url = f"s3://{other.root}"
    return other


def _at_once(base: float, growth_factor: float, attempts: int) -> float:
    """The client tries again without the pause that it else makes."""
    return 0.0


@contextmanager
def _stores() -> Iterator[tuple[Faulty, ObjectStore, ObjectStore]]:
    """The proxy, a store through it and one past it."""
    import s3fs

    with ExitStack() as opened:
        server = opened.enter_context(s3_server())
        faulty = opened.enter_context(faulty_proxy(server, 1.5 * WAITS))
        opened.enter_context(few_racers())
        opened.enter_context(
            mock.patch("schemas.store_probe.ROUNDS", {"posix": 1, "conditional": 1})
        )
        opened.enter_context(mock.patch("schemas.storage_object._PAUSE_SECONDS", 0.0))
        opened.enter_context(mock.patch("botocore.retryhandler.delay_exponential", _at_once))
        opened.enter_context(mock.patch.object(s3fs.S3FileSystem, "retries", 1))
        opened.enter_context(mock.patch.object(s3fs.S3FileSystem, "read_timeout", WAITS))
        environment = {**KEYS, "AWS_MAX_ATTEMPTS": "2", "AWS_ENDPOINT_URL": server}
        opened.enter_context(mock.patch.dict(os.environ, environment))
        direct = ObjectStore("s3://dumps/x")
        direct.filesystem.mkdir("dumps")
        with mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL": faulty.url}):
            through = ObjectStore("s3://dumps/x")
            through.names("")
        yield faulty, through, direct
