"""A ledger of very many shards: its size, and opening it in a process of its own."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.commit_units import ledger_line
from schemas.ledger import ledger_parts, read_ledger
from schemas.ledger_part import LedgerPart


def ledger(lines: int) -> dict[str, Any]:
    """Bytes per line, and what a process needs to open it."""
    with tempfile.TemporaryDirectory(prefix="potstill-bench-", dir=".") as folder:
        size = 0
        parts = []
        for part, data in ledger_parts(map(ledger_line, range(lines))):
            (Path(folder) / part.name).write_bytes(data)
            parts.append(part.model_dump())
            size += len(data)
        (Path(folder) / "parts.json").write_text(json.dumps(parts))
        words = [sys.executable, "-m", "benchmarks.commit_ledger", folder]
        found = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return {"lines": lines, "bytes_per_line": size / lines, **found}


def main() -> None:
    """Opens the ledger in a folder, and prints what that took."""
    folder = Path(sys.argv[1])
    parts = [LedgerPart(**part) for part in json.loads((folder / "parts.json").read_text())]
    before, cpu = _memory_mib(), time.process_time()
    start = time.perf_counter()
    manifest: Any = SimpleNamespace(shards=[], ledger=parts)
    found = read_ledger(manifest, lambda name: (folder / Path(name).name).read_bytes(), "here")
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    told = {
        "seconds_to_open": seconds,
        "cpu_seconds_to_open": cpu,
        "mib": _memory_mib(),
        "mib_more": _memory_mib() - before,
        "shards": len(found),
        "a_line": found[len(found) // 2].name,
    }
    print(json.dumps(told))


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
