"""What keeping every unit safe costs: commits, joining a long dump, requests, several workers.

`commit`: one unit's commit on a local disk, its shard's fsync included. `resume`: seconds from
joining a dump with 10,000 finished units to the first missing one, and to manifest.json.
`requests`: HTTP requests of a further unit to an S3 server of this machine, beyond the upload of
its shard, from joining to manifest.json; of small dumps, and of larger ones, where a lease is of
several units. `ledger`: a million lines, opened in a process of its own. `workers`: a real teacher,
each worker on a core of its own.
Run as

    python -m benchmarks.commit --teacher FOLDER --corpus FILE
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import write_result
from schemas import layout
from schemas.manifest import Alignment, Capture, Shard, Statistics
from schemas.plan import CommitRecord
from schemas.shard_sums import ShardCounts
from schemas.storage_posix import PosixStore
from schemas.strict_json import json_bytes
from stage1_teacher.commit import Work, open_work

AIMS = {
    "commit_ms": 15.0,
    "resume_seconds": 5.0,
    "requests_per_unit": 3.0,
    "two_workers": 1.7,
    "ledger_seconds": 1.0,
    "ledger_mib": 300.0,
}
_KINDS = ("PUT shard", "PUT record", "GET record", "PUT lease", "PUT ledger", "other")
_SHARD = os.urandom(1 << 20)
_ALIGNMENT = Alignment(positions=100, shift_minus_1=2.5, shift_0=0.01, shift_plus_1=2.6)
_STATISTICS = Statistics(
    kept=2_000, drawn=300, tail_mass=4.5, negative_logprob=230.0, alignment=_ALIGNMENT
)


def main() -> None:
    """Measures, prints a line each, and writes results/commit.json."""
    options = _options()
    results: dict[str, Any] = {}
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "commit": lambda: _commit(options.units),
        "resume": lambda: _resume(options.finished),
        "requests": _requests,
        "ledger": lambda: _ledger(options.lines),
    }
    if options.teacher:
        parts["workers"] = lambda: _workers(options)
    for name, measure in parts.items():
        results[name] = measure()
        print(f"{name}: " + json.dumps(results[name]), flush=True)
    print("written:", write_result("commit", {"aims": AIMS, **results}))


def _commit(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="potstill-bench-", dir=".") as folder:
        work = _join(folder, count)
        seconds = []
        for unit in range(count):
            with work.attempt(unit) as attempt:
                attempt.sink.write(_SHARD)
                start = time.perf_counter()
                attempt.commit(_counts())
                seconds.append(time.perf_counter() - start)
        return {
            "units": count,
            "shard_bytes": len(_SHARD),
            "filesystem": _filesystem(Path(folder)),
            "median_ms": 1e3 * statistics.median(seconds),
            "p95_ms": 1e3 * statistics.quantiles(seconds, n=20)[-1],
            "fsync_of_the_shard_alone_ms": 1e3 * _fsync(Path(folder), 20),
        }


def _fsync(folder: Path, count: int) -> float:
    """Median seconds to make a file of a shard's size durable: no commit can cost less."""
    seconds = []
    for number in range(count):
        with (folder / f"{number}.bin").open("wb") as file:
            file.write(_SHARD)
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _resume(finished: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="potstill-bench-", dir=".") as folder:
        count = finished + 1
        store = PosixStore(folder)
        _join(folder, count)
        for unit in range(finished):
            record = CommitRecord(unit=unit, shard=_shard(unit), write_id=f"{unit:016x}")
            place = Path(store.path(layout.record_path(unit)))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(json_bytes(record))
            shard = Path(store.path(f"{layout.DATA}/{record.shard.name}"))
            shard.parent.mkdir(exist_ok=True)
            shard.write_bytes(b"x")
        start = time.perf_counter()
        work = _join(folder, count)
        unit = next(work.units())
        resumed = time.perf_counter() - start
        with work.attempt(unit) as attempt:
            attempt.sink.write(b"x")
            attempt.commit(_counts())
        start = time.perf_counter()
        work.finalise()
        ended = time.perf_counter() - start
    return {"finished_units": finished, "to_first_unit": resumed, "to_manifest": ended}


def _requests() -> dict[str, Any]:
    from tests.stage2_student.object_stores import KEYS, s3_server

    with s3_server() as url, _counted() as sent:
        os.environ.update({**KEYS, "AWS_ENDPOINT_URL": url})
        import s3fs

        s3fs.S3FileSystem().mkdir("bench")
        return {"small": _a_further_unit(70, 120, sent), "larger": _a_further_unit(200, 250, sent)}


def _a_further_unit(few: int, many: int, sent: list[tuple[str, str]]) -> dict[str, Any]:
    """From two dumps of different size, so that what a dump costs once falls out."""
    small = _whole_dump(f"s3://bench/{few}", few, sent)
    large = _whole_dump(f"s3://bench/{many}", many, sent)
    more = {name: (large[name] - small[name]) / (many - few) for name in large}
    return {
        "units": [few, many],
        "requests": [small, large],
        "per_unit": more.pop("all") - more["PUT shard"],
        "per_unit_by_kind": {kind: count for kind, count in more.items() if count},
    }


def _whole_dump(place: str, count: int, sent: list[tuple[str, str]]) -> dict[str, int]:
    """Requests by kind, from joining to manifest.json."""
    sent.clear()
    work = _join(place, count)
    for unit in work.units():
        with work.attempt(unit) as attempt:
            attempt.sink.write(b"x" * 1000)
            attempt.commit(_counts())
    work.finalise()
    names = {"shard": "/data/", "record": "/commits/", "lease": "/leases/", "ledger": "/ledger/"}
    kinds: dict[str, int] = dict.fromkeys(_KINDS, 0)
    for method, path in sent:
        kind = next((name for name, part in names.items() if part in path), "other")
        kinds[f"{method} {kind}" if f"{method} {kind}" in kinds else "other"] += 1
    return {**kinds, "all": len(sent)}


@contextmanager
def _counted() -> Iterator[list[tuple[str, str]]]:
    """Methods and paths of all requests that leave this process, those sent again included."""
    from aiobotocore.httpsession import AIOHTTPSession

    sent: list[tuple[str, str]] = []
    send = AIOHTTPSession.send

    async def counted(self: Any, request: Any) -> Any:
        sent.append((request.method, request.url))
        return await send(self, request)

    AIOHTTPSession.send = counted
    try:
        yield sent
    finally:
        AIOHTTPSession.send = send


def _ledger(lines: int) -> dict[str, Any]:
    from schemas.ledger import ledger_parts

    with tempfile.TemporaryDirectory(prefix="potstill-bench-", dir=".") as folder:
        size = 0
        parts = []
        for part, data in ledger_parts(map(_shard, range(lines))):
            (Path(folder) / part.name).write_bytes(data)
            parts.append(part.model_dump())
            size += len(data)
        (Path(folder) / "parts.json").write_text(json.dumps(parts))
        words = [sys.executable, "-m", "benchmarks.commit", "--open-ledger", folder]
        found = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return {"lines": lines, "bytes_per_line": size / lines, **found}


def _open_ledger(folder: Path) -> None:
    """Runs in a process of its own, whose memory says what a ledger needs."""
    from types import SimpleNamespace

    from schemas.ledger import read_ledger
    from schemas.ledger_part import LedgerPart

    parts = [LedgerPart(**part) for part in json.loads((folder / "parts.json").read_text())]
    before, cpu = _memory_mib(), time.process_time()
    start = time.perf_counter()
    manifest: Any = SimpleNamespace(shards=[], ledger=parts)
    found = read_ledger(manifest, lambda name: (folder / Path(name).name).read_bytes(), "here")
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    middle = found[len(found) // 2]
    print(
        json.dumps(
            {
                "seconds_to_open": seconds,
                "cpu_seconds_to_open": cpu,
                "mib": _memory_mib(),
                "mib_more": _memory_mib() - before,
                "shards": len(found),
                "a_line": middle.name,
            }
        )
    )


def _workers(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds after loading of one worker, and of the slower of two, each on its own core."""
    one = _run_workers(options, 1)
    two = _run_workers(options, 2)
    return {
        "rows": options.limit,
        "seconds_of_one": max(one),
        "seconds_of_two": two,
        "times_as_fast": max(one) / max(two),
    }


def _run_workers(options: argparse.Namespace, count: int) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="potstill-bench-", dir=".") as folder:
        words = [sys.executable, "-m", "benchmarks.commit", "--worker"]
        words += ["--teacher", options.teacher, "--corpus", options.corpus]
        words += ["--limit", str(options.limit), "--folder", f"{folder}/dump"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        running = [
            subprocess.Popen(
                [*words, "--core", str(core)], stdin=pipe, stdout=pipe, text=True, env=environment
            )
            for core in range(count)
        ]
        for process in running:
            assert process.stdout is not None and process.stdin is not None
            process.stdout.readline()  # the teacher's files are read, torch is imported
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [float(process.communicate()[0].splitlines()[-1]) for process in running]


def _work(options: argparse.Namespace) -> None:
    """One worker: says that it is ready, waits for `go`, dumps, says how long it took."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[options.core]})
    import torch

    from stage1_teacher.run import dump
    from stage1_teacher.settings import DumpSettings

    torch.set_num_threads(1)
    settings = DumpSettings(
        teacher=options.teacher,
        corpus=options.corpus,
        out=options.folder,
        limit=options.limit,
        unit_size=4,
        max_length=256,
        dtype="float32",
        license="unknown",
    )
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    done = dump(settings)
    print(done.seconds if done.units_done else time.perf_counter() - start)


def _join(place: str, count: int) -> Work:
    from tests.dumps import make_settings

    units = [(unit, unit + 1) for unit in range(count)]
    settings = make_settings(Capture(), rows=count)
    return open_work(place, settings, units, created_by="benchmarks/commit.py")


def _counts() -> ShardCounts:
    return ShardCounts(rows=512, tokens=200_000, positions=100_000, statistics=_STATISTICS)


def _shard(unit: int) -> Shard:
    return Shard(
        name=layout.shard_name(unit, hashlib.sha256(f"name {unit}".encode()).hexdigest()[:16]),
        unit=unit,
        rows=512,
        tokens=200_000 + unit % 1000,
        positions=100_000 + unit % 777,
        bytes=1,
        sha256="sha256:" + hashlib.sha256(str(unit).encode()).hexdigest(),
        statistics=_STATISTICS,
    )


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _filesystem(folder: Path) -> str:
    words = ["stat", "-f", "-c", "%T", str(folder)]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    return found.stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", help="a model folder; without it no workers are measured")
    parser.add_argument("--corpus")
    parser.add_argument("--limit", type=int, default=160, help="rows that the workers dump")
    parser.add_argument("--units", type=int, default=1000, help="commits")
    parser.add_argument("--finished", type=int, default=10_000, help="units finished before")
    parser.add_argument("--lines", type=int, default=1_000_000, help="of the ledger")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--open-ledger", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    asked = _options()
    if asked.worker:
        _work(asked)
    elif asked.open_ledger:
        _open_ledger(asked.open_ledger)
    else:
        main()
