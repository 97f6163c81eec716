"""A ledger of very many shards: its size, and opening it in a process of its own."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.commit_units import ledger_line
from benchmarks.process import peak_mib
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
    manifest: Any = SimpleNamespace(shards=[], ledger=parts)
    told: dict[str, Any] = {}

    def opened() -> None:
        start, cpu = time.perf_counter(), time.process_time()
        found = read_ledger(manifest, lambda name: (folder / Path(name).name).read_bytes(), "here")
        told["seconds_to_open"] = time.perf_counter() - start
        told["cpu_seconds_to_open"] = time.process_time() - cpu
        told["shards"] = len(found)
        told["a_line"] = found[len(found) // 2].name

    told["mib_to_open"] = peak_mib(opened)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
