"""A commit on a local disk, and joining a dump of which most is done."""

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.commit_units import COUNTS, join, ledger_line
from schemas import layout
from schemas.plan import CommitRecord
from schemas.storage_posix import PosixStore
from schemas.strict_json import json_bytes

_SHARD = os.urandom(1 << 20)


def commits(count: int) -> dict[str, Any]:
    """From a written shard to a durable record: wall clock, and the processor's part of it.

    After every commit a file as large as the shard is made durable by itself: no commit can cost
    less, and what else the disk is busy with slows both.
    """
    with tempfile.TemporaryDirectory(prefix="potstill-bench-", dir=".") as folder:
        work = join(folder, count)
        seconds, processor, alone = [], [], []
        for unit in range(count):
            with work.attempt(unit) as attempt:
                attempt.sink.write(_SHARD)
                start, cpu = time.perf_counter(), time.process_time()
                attempt.commit(COUNTS)
                seconds.append(time.perf_counter() - start)
                processor.append(time.process_time() - cpu)
            alone.append(_durable(Path(folder) / "alone.bin"))
        return {
            "units": count,
            "shard_bytes": len(_SHARD),
            "filesystem": _filesystem(Path(folder)),
            "median_ms": 1e3 * statistics.median(seconds),
            "p95_ms": 1e3 * statistics.quantiles(seconds, n=20)[-1],
            "median_processor_ms": 1e3 * statistics.median(processor),
            "shard_alone_ms": 1e3 * statistics.median(alone),
        }


def _durable(path: Path) -> float:
    """Seconds that it takes to write a file of a shard's size and to fsync it."""
    with path.open("wb", buffering=0) as file:
        start = time.perf_counter()
        file.write(_SHARD)
        os.fsync(file.fileno())
        taken = time.perf_counter() - start
    path.unlink()
    return taken


def resume(finished: int) -> dict[str, Any]:
    """Seconds from joining to the first missing unit, and from the last commit to manifest.json."""
    with tempfile.TemporaryDirectory(prefix="potstill-bench-", dir=".") as folder:
        count = finished + 1
        _finish(PosixStore(folder), finished, count)
        start = time.perf_counter()
        work = join(folder, count)
        unit = next(work.units())
        resumed = time.perf_counter() - start
        with work.attempt(unit) as attempt:
            attempt.sink.write(b"x")
            attempt.commit(COUNTS)
        start = time.perf_counter()
        work.finalise()
        ended = time.perf_counter() - start
    return {"finished_units": finished, "to_first_unit": resumed, "to_manifest": ended}


def _finish(store: PosixStore, finished: int, count: int) -> None:
    """Records and shards of units as earlier workers left them."""
    join(str(store.root), count)
    for unit in range(finished):
        record = CommitRecord(unit=unit, shard=ledger_line(unit), write_id=f"{unit:016x}").sealed()
        for name, data in (
            (layout.record_path(unit), json_bytes(record)),
            (f"{layout.DATA}/{record.shard.name}", b"x"),
        ):
            place = Path(store.path(name))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)


def _filesystem(folder: Path) -> str:
    words = ["stat", "-f", "-c", "%T", str(folder)]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    return found.stdout.strip()
