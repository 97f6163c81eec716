"""Dumps are made out of dumps in memory that does not grow with them."""

import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.dataset import repeated
from benchmarks.dataset_limited import decoded_bytes
from pipeline.dataset_merge import merge
from pipeline.dataset_settings import MergeSettings, SubsetSettings
from pipeline.dataset_subset import subset
from schemas.dump_folder import open_dump
from tests.dumps import write_dump


def peak(words: list[str], out: Path) -> int:
    """Bytes of Python, numpy and Arrow together, at their highest."""
    default = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(default)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        merge(MergeSettings(dumps=words, out=str(out / "merged")))
        subset(SubsetSettings(dump=str(out / "merged"), out=str(out / "half"), share=0.5))
        return tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(default)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_dumps(tmp_path: Path) -> None:
    """Buffers fill, and ids take 16 bytes a row; what else is read is let go."""
    base = write_dump(tmp_path / "base", count=64, unit_size=64, rows_per_group=64)
    peaks, sizes = [], []
    for copies in (2, 10):
        folder = tmp_path / str(copies)
        ranges = range(copies), range(copies, 2 * copies)
        dumps = [
            repeated(open_dump(base.path), folder / str(number), span)
            for number, span in enumerate(ranges)
        ]
        peaks.append(peak([dump.url for dump in dumps], folder))
        sizes.append(sum(decoded_bytes(dump) for dump in dumps))
    assert peaks[1] - peaks[0] < 0.3 * (sizes[1] - sizes[0]), (peaks, sizes)
