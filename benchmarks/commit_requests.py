"""HTTP requests to an S3 server of this machine, counted where they leave the process.

Some are made once by every worker that joins (most are the probe of the store), some once by the
dump, some for every unit. They are told apart by dumps of several sizes, not by assumption.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.commit_units import COUNTS, join

SIZES = {"small": (20, 60), "middle": (70, 120), "large": (200, 250)}
"""Dumps with one unit per lease and no snapshot; with two and some; with four."""

_NAMES = {"shard": "/data/part", "record": "/commits/", "lease": "/leases/", "ledger": "/ledger/"}

Sent = list[tuple[str, str]]


def requests() -> dict[str, Any]:
    """What a further unit costs beyond the upload of its shard, in dumps of several sizes."""
    from tests.stage2_student.object_stores import KEYS, s3_server

    with s3_server() as url, _counted() as sent:
        os.environ.update({**KEYS, "AWS_ENDPOINT_URL": url})
        import s3fs

        s3fs.S3FileSystem().mkdir("bench")
        return {name: _a_further_unit(few, many, sent) for name, (few, many) in SIZES.items()}


def _a_further_unit(few: int, many: int, sent: Sent) -> dict[str, Any]:
    joining, small = _whole_dump(f"s3://bench/{few}", few, sent)
    _, large = _whole_dump(f"s3://bench/{many}", many, sent)
    more = {kind: (large.get(kind, 0) - small.get(kind, 0)) / (many - few) for kind in large}
    shards = more.pop("PUT shard")
    per_unit = sum(more.values())
    return {
        "units": [few, many],
        "requests": [sum(small.values()), sum(large.values())],
        "per_unit": round(per_unit, 3),
        "per_unit_by_kind": {kind: round(count, 3) for kind, count in more.items() if count},
        "to_join": joining,
        "once_per_dump": round(sum(small.values()) - few * (per_unit + shards) - joining),
    }


def _whole_dump(place: str, count: int, sent: Sent) -> tuple[int, dict[str, int]]:
    """Requests to join, and by kind of the whole, manifest.json included."""
    sent.clear()
    work = join(place, count)
    joining = len(sent)
    for unit in work.units():
        with work.attempt(unit) as attempt:
            attempt.sink.write(b"x" * 1000)
            attempt.commit(COUNTS)
    work.finalise()
    kinds: dict[str, int] = {}
    for method, url in sent:
        kind = next((name for name, part in _NAMES.items() if part in url), "")
        kind = f"{method} {kind}" if kind else "other"
        kinds[kind] = kinds.get(kind, 0) + 1
    return joining, kinds


@contextmanager
def _counted() -> Iterator[Sent]:
    """Methods and addresses of all requests that leave this process, those sent again included."""
    from aiobotocore.httpsession import AIOHTTPSession

    sent: Sent = []
    send = AIOHTTPSession.send

    async def counted(self: Any, request: Any) -> Any:
        sent.append((request.method, request.url))
        return await send(self, request)

    AIOHTTPSession.send = counted
    try:
        yield sent
    finally:
        AIOHTTPSession.send = send
