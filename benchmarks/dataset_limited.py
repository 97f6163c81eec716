"""The dataset commands in a process that may not hold what it reads; part of benchmarks.dataset."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from schemas.dump_folder import DumpFolder, open_dump
from schemas.verify import verify

CHILD_BYTES = 192 << 20
"""Data memory that the child may take beyond what Python and its libraries have at the start."""


def limited(command: str, words: list[str], dumps: list[DumpFolder]) -> dict[str, Any]:
    """Runs a command in a child with limited data memory; fails when that is not enough."""
    code = (
        "import resource, sys\n"
        "from pipeline.cli import main, load\n"
        f"load('dataset {command}')\n"
        f"from pipeline import dataset_{command}\n"
        "import pyarrow as pa; pa.set_cpu_count(1); pa.set_io_thread_count(1)\n"
        "text = open('/proc/self/status').read()\n"
        f"limit = int(text.split('VmData:')[1].split()[0]) * 1024 + {CHILD_BYTES}\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))\n"
        "print(limit, flush=True)\n"
        f"sys.exit(main({['dataset', command, *words, '--quiet']!r}))\n"
    )
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}  # others reserve a GiB
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, env=environment
    )
    limit, decoded = int(ran.stdout.split()[0]), sum(map(decoded_bytes, dumps))
    if decoded <= limit:
        raise SystemExit(f"{decoded:,} bytes decoded are within {limit:,}: give more --tokens")
    return {
        "files_mb": round(sum(shard.bytes for dump in dumps for shard in dump.shards) / 1e6),
        "decoded_mb": round(decoded / 1e6),
        "limit_mb": round(limit / 1e6),
        "limit_beyond_the_program_mb": round(CHILD_BYTES / 1e6),
        "peak_rss_mb_of_all_children": round(
            resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
        ),
    }


def all_limited(dumps: list[DumpFolder], folder: Path) -> dict[str, Any]:
    """Every command that makes, copies or compares a dump; what they made is verified at the end.

    `peak_rss_mb_of_all_children` is the largest so far.
    """
    merged, half, small, large, there, back = (
        str(folder / name) for name in ("merged", "half", "small", "large", "there", "back")
    )
    results = {"merge": limited("merge", [*(d.url for d in dumps), "--out", merged], dumps)}
    whole = [open_dump(merged)]
    for command, words in {
        "subset": [merged, "--share", "0.5", "--out", half],
        "reencode": [merged, "--top-k", "16", "--out", small],
        "reshard": [merged, "--shard-size", "64", "--out", large],
        "diff": [merged, large],
        "push": [merged, "--to", f"file://{there}"],
        "pull": [f"file://{there}", "--out", back],
    }.items():
        results[command] = limited(command, words, whole)
    for made in (merged, half, small, large, back):
        if not verify(made).ok:
            raise SystemExit(f"verify finds something in {made}, which was made under the limit")
    return results


def decoded_bytes(dump: DumpFolder) -> int:
    """What the dump's tables take in memory."""
    files = [dump.shard_file(shard) for shard in dump.shards]
    return sum(
        file.read_row_group(group).nbytes for file in files for group in range(file.num_row_groups)
    )
