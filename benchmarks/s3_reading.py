"""How fast batches come from an S3 server on this machine, bare and through a cache on the disk.

    python -m benchmarks.s3_reading

The server is moto in a process of its own, on the same cores as the reader: a store that answers
at once but computes slowly. So the figures say what the cache takes away from requests, not how
fast S3 is. Wall-clock time of whole epochs; the cached ones include the first, which fills it.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from benchmarks.machine import write_result
from benchmarks.synthetic_dump import write_synthetic_dump
from schemas.dump_folder import DumpFolder, open_dump
from stage2_student.cached_store import cached_dumps
from stage2_student.stream import StreamSettings, open_stream
from tests.stage2_student.object_stores import KEYS, s3_server

EPOCHS = 3


def epochs(dump: DumpFolder) -> list[int]:
    """Tokens per second of a few epochs, one after the other."""
    stream = open_stream([dump], StreamSettings(rows_per_step=8, max_length=2048))
    tokens, speeds = stream.plan(0).tokens, []
    for epoch in range(EPOCHS):
        started = time.monotonic()
        for _ in stream.epoch_batches(epoch):
            pass
        speeds.append(round(tokens / (time.monotonic() - started)))
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=400_000)
    given = parser.parse_args()
    pa.set_cpu_count(1)
    torch.set_num_threads(1)
    import s3fs

    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, s3_server() as url:
        os.environ.update(KEYS, AWS_ENDPOINT_URL=url)
        local = Path(name) / "dump"
        write_synthetic_dump(local, "default", given.tokens)
        store = s3fs.S3FileSystem()
        store.mkdir("dumps")
        store.put(str(local), "dumps/night", recursive=True)
        remote = open_dump("s3://dumps/night")
        (cached,) = cached_dumps([remote], str(Path(name) / "cache"), 10.0)
        (small,) = cached_dumps([remote], str(Path(name) / "small"), 0.01)
        dumps = {
            "folder": open_dump(local),
            "s3": remote,
            "s3, cache": cached,
            "s3, cache of 10 MB": small,
        }
        for what, dump in dumps.items():
            results[what] = {"tokens_per_second_by_epoch": epochs(dump)}
            print(what, results[what])
        results["dump_bytes"] = sum(shard.bytes for shard in remote.shards)
    print(write_result("s3_reading", {"what": __doc__.splitlines()[0], "results": results}))


if __name__ == "__main__":
    main()
