"""How many tokens a second become dense packed torch batches, per core.

    python -m benchmarks.reader                  # synthetic dumps, both policies
    python -m benchmarks.reader --dump DUMP      # a real one

Everything counts: reading, decompression, page checksums, range checks, packing, dense tensors.
CPU seconds of the whole process are counted, not wall time. Work beside it on the machine still
slows a core down, so pyarrow's own reading of the same columns is measured in turns with it: the
ratio of both says what checks, packing and dense tensors cost, on any machine.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import torch

from benchmarks.machine import write_result
from benchmarks.synthetic_dump import CAPTURES, write_synthetic_dump
from schemas.dump_folder import DumpFolder, open_dump
from stage2_student.shard_reader import Wanted
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
    pairs = [(_epoch(stream, epoch), _bare(dump)) for epoch in range(1, REPEATS + 1)]
    runs, bare = sorted(own for own, _ in pairs), sorted(other for _, other in pairs)
    tokens = stream.plan(0).tokens
    size = sum(shard.bytes for shard in dump.shards)
    return {
        "tokens": tokens,
        "bytes_per_token": round(size / tokens, 1),
        "packing_fill": round(stream.plan(0).fill, 4),
        "open_seconds": round(opened, 3),
        "tokens_per_second_median": round(tokens / runs[len(runs) // 2]),
        "tokens_per_second_best": round(tokens / runs[0]),
        "bare_pyarrow_tokens_per_second_best": round(tokens / bare[0]),
        "share_of_bare_pyarrow_median": round(median(other / own for own, other in pairs), 3),
    }


def _epoch(stream: Stream, epoch: int) -> float:
    stream.plan(epoch)
    started = time.process_time()
    targets = sum(len(batch.targets.rows_N) for batch in stream.epoch_batches(epoch))
    seconds = time.process_time() - started
    if not targets:
        raise SystemExit("the dump has no captured positions")
    return seconds


def _bare(dump: DumpFolder) -> float:
    """CPU seconds of reading the same columns with nothing done to them."""
    started = time.process_time()
    for shard in dump.shards:
        file = dump.shard_file(shard)
        for group in range(file.num_row_groups):
            file.read_row_group(group, columns=Wanted().columns)
    return time.process_time() - started


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
