"""How long a trainer waits for its data, at the speed of one device after another.

    python -m benchmarks.prefetch

A device takes batches of 8 x 2,048 tokens and is busy with each as long as its speed says (a
sleep: a GPU, too, leaves the processor alone), from a folder and from a store that answers every
request 30 ms late and then gives 100 MB a second. Waiting counts as in a training's log
(`wait_share`): the time in which the next batch was not ready, after the first three seconds. One
core reads.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from benchmarks.machine import write_result
from benchmarks.synthetic_dump import write_synthetic_dump
from schemas.dump_folder import DumpFolder, open_dump
from stage2_student.batch import Batch
from stage2_student.stream import StreamSettings, open_stream

SETTINGS = StreamSettings(rows_per_step=8, max_length=2048)
SPEEDS = (20_000, 50_000, 100_000, 200_000)
WARM_UP, SECONDS = 3.0, 12.0
DELAY = 0.03
BANDWIDTH = 100e6


class LateFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file read in ranges, as s3fs does it."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        time.sleep(DELAY + (end - start) / BANDWIDTH)
        with Path(self.path).open("rb") as file:
            file.seek(start)
            return file.read(end - start)


class LateStore(AbstractFileSystem):  # type: ignore[misc]
    """Local files behind a network."""

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name and size."""
        return {"name": path, "size": Path(path).stat().st_size, "type": "file"}

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **_: Any) -> LateFile:
        return LateFile(self, path, mode, block_size or "default", size=self.info(path)["size"])


def wait_share(dump: DumpFolder, speed: int) -> float:
    """The share of the time without a batch of a device that takes `speed` tokens a second."""
    batches: Iterator[Batch] = iter(open_stream([dump], SETTINGS))
    _train(batches, speed, WARM_UP)
    started = time.monotonic()
    waited = _train(batches, speed, SECONDS)
    return waited / (time.monotonic() - started)


def _train(batches: Iterator[Batch], speed: int, seconds: float) -> float:
    """Seconds of waiting in about so many of training."""
    started, waited = time.monotonic(), 0.0
    while time.monotonic() - started < seconds:
        asked = time.monotonic()
        batch = next(batches)
        waited += time.monotonic() - asked
        time.sleep(sum(document.length for document in batch.documents) / speed)
    return waited


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    given = parser.parse_args()
    pa.set_cpu_count(1)
    torch.set_num_threads(1)
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic_dump(Path(folder) / "dump", "default", given.tokens)
        dump = open_dump(Path(folder) / "dump")
        late = replace(dump, filesystem=LateStore())
        for name, where in (("folder", dump), ("store", late)):
            results[name] = {str(s): round(wait_share(where, s), 4) for s in SPEEDS}
    for name, shares in results.items():
        for speed, share in shares.items():
            print(f"{name:<10}{int(speed):>10,} tokens/s  waits {share:.2%}")
    print(write_result("prefetch", {"what": __doc__.splitlines()[0], "wait_share": results}))


if __name__ == "__main__":
    main()
