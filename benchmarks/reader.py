"""How many tokens a second become dense packed torch batches, per core.

    python -m benchmarks.reader                  # synthetic dumps, both policies
    python -m benchmarks.reader --dump DUMP      # a real one

Everything counts: reading, decompression, page checksums, range checks, packing, dense tensors.
CPU seconds of the whole process are counted, not wall time, so other work on the machine does not.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from benchmarks.machine import write_result
from benchmarks.synthetic_dump import CAPTURES, write_synthetic_dump
from schemas.dump_folder import open_dump
from stage2_student.stream import Stream, StreamSettings, open_stream

ROWS_PER_STEP = 8
MAX_LENGTH = 2048
REPEATS = 5


def measure(path: Path) -> dict[str, Any]:
    """Median and best of several epochs over one dump."""
    settings = StreamSettings(rows_per_step=ROWS_PER_STEP, max_length=MAX_LENGTH)
    started = time.process_time()
    dump = open_dump(path)
    stream = open_stream([dump], settings)
    opened = time.process_time() - started
    runs = sorted(_epoch(stream, epoch) for epoch in range(1, REPEATS + 1))
    tokens = stream.plan(0).tokens
    size = sum(shard.bytes for shard in dump.shards)
    return {
        "tokens": tokens,
        "bytes_per_token": round(size / tokens, 1),
        "packing_fill": round(stream.plan(0).fill, 4),
        "open_seconds": round(opened, 3),
        "tokens_per_second_median": round(tokens / runs[len(runs) // 2]),
        "tokens_per_second_best": round(tokens / runs[0]),
    }


def _epoch(stream: Stream, epoch: int) -> float:
    stream.plan(epoch)
    started = time.process_time()
    targets = sum(len(batch.targets.rows_N) for batch in stream.epoch_batches(epoch))
    seconds = time.process_time() - started
    if not targets:
        raise SystemExit("the dump has no captured positions")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dump", type=Path)
    parser.add_argument("--tokens", type=int, default=600_000)
    given = parser.parse_args()
    pa.set_cpu_count(1)
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    if given.dump:
        results[given.dump.name] = measure(given.dump)
    with tempfile.TemporaryDirectory() as folder:
        for policy in CAPTURES:
            path = Path(folder) / policy
            write_synthetic_dump(path, policy, given.tokens)
            results[f"synthetic {policy}"] = measure(path)
    for name, result in results.items():
        print(name, result)
    print(write_result("reader", {"what": __doc__.splitlines()[0], "results": results}))


if __name__ == "__main__":
    main()
