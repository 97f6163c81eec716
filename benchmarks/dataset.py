"""What it costs to make a dump out of dumps, beside copying the same Parquet files.

    python -m benchmarks.dataset --dump DUMP [--tokens 10000000] [--repeats 5]

The rows of a real dump are repeated under other ids until there are two dumps of so many tokens in
all. A plain copy reads every row group with pyarrow (page checksums verified) and writes it with
the same Parquet settings; merge and subset also check every number, find repeated ids, compute the
statistics and the alignment self-test of the new shards, and hash them. Seconds of the clock and
processor seconds of the whole process, in turns; each figure is the median of the ratios. The two
differ because the dump's commands read the next rows while they write. Every command also runs in
a child whose data memory (RLIMIT_DATA) is limited to less than the dump that it reads takes when
decoded.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.dataset_limited import all_limited
from benchmarks.machine import write_result
from pipeline.dataset_derived import derived_settings
from pipeline.dataset_making import Making, make_dump
from pipeline.dataset_merge import merge
from pipeline.dataset_reencode import reencode
from pipeline.dataset_rows import Rows, Wanted, read_rows
from pipeline.dataset_settings import MergeSettings, ReencodeSettings, SubsetSettings
from pipeline.dataset_subset import in_share, subset
from schemas.dump_folder import DumpFolder, open_dump
from schemas.shards import open_shard

SHARE = 0.5


def repeated(dump: DumpFolder, out: Path, copies: range) -> DumpFolder:
    """A dump of the rows, over and over, under new ids."""
    settings = derived_settings([dump], "reshard", {"copies": f"{copies.start}:{copies.stop}"})
    wanted = Wanted(columns=dump.columns)

    def rows() -> Iterator[Rows]:
        for copy in copies:
            for part in read_rows(dump, wanted):
                ids = pa.array([f"{name}-{copy}" for name in part.table["id"].to_pylist()])
                yield Rows(table=part.table.set_column(0, part.table.schema.field("id"), ids))

    total = len(copies) * sum(shard.rows for shard in dump.shards)
    making = Making(out=str(out), operation="repeat", model=dump, shard_mb=16, rows=total)
    make_dump(making, settings, rows())
    return open_dump(out)


def plain_copy(dumps: list[DumpFolder], out: Path, share: float = 1.0) -> None:
    """Reads and writes the same files, and nothing else; with a share, filters by id."""
    out.mkdir()
    for number, dump in enumerate(dumps):
        for shard in dump.shards:
            file = dump.shard_file(shard)
            with (
                (out / f"{number}-{shard.name}").open("wb") as sink,
                open_shard(sink, dump.columns, dict) as write,
            ):
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group)
                    if share < 1:
                        names = table["id"].to_pylist()
                        table = table.filter(np.asarray([in_share(name, share) for name in names]))
                    write(table)


def seconds(work: Callable[[Path], None], folder: Path) -> tuple[float, float]:
    """Seconds of the clock and of processors that one run takes; its output is removed."""
    out = folder / "out"
    clock, processor = time.perf_counter(), time.process_time()
    work(out)
    spent = time.perf_counter() - clock, time.process_time() - processor
    shutil.rmtree(out)
    return spent


def compare(
    work: Callable[[Path], None], plain: Callable[[Path], None], folder: Path, repeats: int
) -> dict[str, float]:
    """Both in turns: their seconds, and how fast the work is beside the plain copy."""
    pairs = [(seconds(work, folder), seconds(plain, folder)) for _ in range(repeats)]
    figures = {}
    for index, kind in enumerate(("", "processor_")):
        own, other = ([run[index] for run in runs] for runs in zip(*pairs, strict=True))
        ratios = [there / here for here, there in zip(own, other, strict=True)]
        figures |= {f"{kind}seconds": own, f"plain_{kind}seconds": other}
        figures[f"{kind}speed_beside_plain"] = ratios
    return {name: round(median(values), 3) for name, values in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dump", required=True)
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    dump = open_dump(given.dump)
    copies = max(1, given.tokens // 2 // sum(shard.tokens for shard in dump.shards))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        a = repeated(dump, folder / "a", range(copies))
        b = repeated(dump, folder / "b", range(copies, 2 * copies))
        both, words = [a, b], [a.url, b.url]
        results: dict[str, Any] = {
            "tokens": sum(shard.tokens for d in both for shard in d.shards),
            "bytes": sum(shard.bytes for d in both for shard in d.shards),
            "merge": compare(
                lambda out: void(merge(MergeSettings(dumps=words, out=str(out)))),
                lambda out: plain_copy(both, out),
                folder,
                given.repeats,
            ),
            "subset, half of the rows": compare(
                lambda out: void(subset(SubsetSettings(dump=a.url, out=str(out), share=SHARE))),
                lambda out: plain_copy([a], out, SHARE),
                folder,
                given.repeats,
            ),
            "subset, all rows": compare(
                lambda out: void(subset(SubsetSettings(dump=a.url, out=str(out), min_tokens=1))),
                lambda out: plain_copy([a], out),
                folder,
                given.repeats,
            ),
            "reencode to 16 entries": compare(
                lambda out: void(reencode(ReencodeSettings(dump=a.url, out=str(out), top_k=16))),
                lambda out: plain_copy([a], out),
                folder,
                given.repeats,
            ),
        }
        results["memory limited"] = all_limited(both, folder)
    for what, result in results.items():
        print(what, result)
    print(write_result("dataset", {"what": __doc__.splitlines()[0], "results": results}))


def void(_: object) -> None:
    """Lets a summary go."""


if __name__ == "__main__":
    main()
