"""What size costs: memory of writer and verifier beside ten times the dump, and a long ledger.

A child each, so that a peak is its own.
"""

import hashlib
import io
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas import layout
from schemas.dump_folder import open_dump
from schemas.ledger import GROUP_LINES, PART_LINES, SCHEMA
from schemas.ledger_part import LedgerPart
from schemas.manifest import Shard, manifest_identity
from schemas.plan import Plan
from schemas.strict_json import json_bytes
from schemas.verify import verify
from stage1_teacher.commit import open_work
from stage1_teacher.commit_manifest import assemble
from tests.dumps import write_dump
from tests.reliability.campaign import Outcome, Tier, scratch
from tests.reliability.interleavings import PLAN
from tests.reliability.small_dump import COUNTS, SETTINGS

LEDGER: dict[Tier, int] = {"pr": 1_000_000, "nightly": 1_000_000, "release": 1_000_000}
FLAT = 1.25
"""Ten times the dump may take so many times the memory at most; and 8 MB more, for its ids."""

LEDGER_MEMORY, LEDGER_SECONDS = 300 << 20, 1.0


def scale(tier: Tier) -> Outcome:
    """Writer, verifier, ledger."""
    outcome = Outcome()
    with scratch() as folder:
        _flat(outcome, "verifier", lambda n: _verifier(folder / f"verified-{n}", n))
        _flat(outcome, "writer", lambda n: _writer(folder / f"written-{n}", n))
        _ledger(outcome, folder / "long", LEDGER[tier])
    return outcome


def _flat(outcome: Outcome, name: str, work: Callable[[int], Callable[[], object]]) -> None:
    small, large = (_peak(work(size))["memory"] for size in (30, 300))
    outcome.count(f"{name} at ten times the size")
    outcome.figures[f"{name}, MB"] = round(small / 1e6, 1)
    outcome.figures[f"{name} at ten times the size, MB"] = round(large / 1e6, 1)
    if large > FLAT * small + 8e6:
        outcome.violate(name, [f"{large / 1e6:.0f} MB where a tenth takes {small / 1e6:.0f}"])


def _verifier(path: Path, shards: int) -> Callable[[], object]:
    write_dump(path, count=4 * shards, unit_size=4)
    return lambda: verify(str(path)).ok


def _writer(path: Path, units: int) -> Callable[[], object]:
    """Units of a megabyte; one is in memory at a time."""
    ranges = [(8 * unit, 8 * unit + 8) for unit in range(units)]

    def write() -> None:
        work = open_work(path, SETTINGS, ranges, created_by="test")
        for unit in work.units():
            with work.attempt(unit) as one:
                for _ in range(8):
                    one.sink.write(os.urandom(1 << 17))
                one.commit(COUNTS)
        work.finalise()

    return write


def _ledger(outcome: Outcome, path: Path, shards: int) -> None:
    """A complete dump of so many shards, of which only the ledger is there: opening it."""
    _write_ledger(path, shards)
    told = _peak(lambda: _walk(path, shards))
    outcome.count("ledgers")
    outcome.figures["shards in the ledger"] = shards
    outcome.figures["opening it, seconds"] = round(told["result"], 2)
    outcome.figures["opening it, MB"] = round(told["memory"] / 1e6)
    if told["result"] > LEDGER_SECONDS:
        outcome.violate("ledger", [f"opening {shards:,} shards takes {told['result']:.2f} s"])
    if told["memory"] > LEDGER_MEMORY:
        outcome.violate("ledger", [f"opening {shards:,} shards takes {told['memory'] >> 20} MB"])


def _walk(path: Path, shards: int) -> float:
    """The least of three times: others may have the processor's caches."""
    return min(_opened(path, shards) for _ in range(3))


def _opened(path: Path, shards: int) -> float:
    start = time.process_time()
    opened = open_dump(path).shards
    if (len(opened), opened[-1].unit) != (shards, shards - 1):
        raise RuntimeError(f"the ledger has {len(opened)} lines")
    return time.process_time() - start


def _write_ledger(path: Path, shards: int) -> None:
    """Files of a ledger as `schemas.ledger` writes them; units and names differ between them."""
    plan = Plan.model_validate({**PLAN.model_dump(), "checksum": None})
    first = assemble(plan, map(_line, range(PART_LINES)), PART_LINES)
    (path / "ledger").mkdir(parents=True)
    (data,) = first.files.values()
    table, parts = pq.read_table(io.BytesIO(data)), []
    for start in range(0, shards, PART_LINES):
        units = range(start, start + PART_LINES)
        names = [layout.shard_name(unit, "00ff") for unit in units]
        part = table.set_column(table.schema.get_field_index("unit"), "unit", pa.array(units))
        part = part.set_column(part.schema.get_field_index("name"), "name", pa.array(names))
        parts.append(_written(path, part.cast(SCHEMA)))
    manifest = first.manifest.model_copy(update={"ledger": parts})
    manifest = manifest.model_copy(update={"identity": manifest_identity(manifest)})
    (path / layout.MANIFEST).write_bytes(json_bytes(manifest))


def _line(unit: int) -> Shard:
    """No two lines' hashes are the same: they are what does not compress."""
    hashed = "sha256:" + hashlib.sha256(str(unit).encode()).hexdigest()
    return Shard(
        name=layout.shard_name(unit, hashed[7:23]),
        unit=unit,
        rows=COUNTS.rows,
        tokens=COUNTS.tokens,
        positions=COUNTS.positions,
        bytes=1_000_000 + unit,
        sha256=hashed,
        statistics=COUNTS.statistics,
    )


def _written(path: Path, table: pa.Table) -> LedgerPart:
    sink = io.BytesIO()
    options = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
    with pq.ParquetWriter(
        sink, SCHEMA, compression="zstd", write_page_checksum=True, **options
    ) as w:
        w.write_table(table, row_group_size=GROUP_LINES)
    data = sink.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    (path / layout.ledger_part(f"{digest[:16]}.parquet")).write_bytes(data)
    return LedgerPart(
        name=f"{digest[:16]}.parquet",
        shards=table.num_rows,
        bytes=len(data),
        sha256=f"sha256:{digest}",
    )


def _peak(work: Callable[[], Any]) -> dict[str, Any]:
    """Runs in a child: its result, and what its memory grew by."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = work()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        with os.fdopen(writing, "w") as out:
            json.dump({"memory": grown << 10, "result": result}, out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as heard:
        told: dict[str, Any] = json.loads(heard.read())
    os.waitpid(child, 0)
    return told
