"""Real workers of a real dump, killed at random, until nothing is left to do.

Every worker is a process of its own that runs `stage1_teacher.run.dump` with a tiny teacher under
transformers. They are forked from this process, which has imported everything, so that a life may
be shorter than an import. Samples must come out equal, byte for byte, to an undisturbed run.
"""

import hashlib
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.dump_folder import open_dump
from schemas.verify import verify
from tests.reliability.campaign import Outcome, Tier, scratch
from tests.tiny import tiny_teacher, write_rows

KILLS: dict[Tier, int] = {"pr": 500, "nightly": 5_000, "release": 20_000}
AT_ONCE = 2
ROWS, UNIT_ROWS = 96, 2
LONGEST_LIFE = 0.6
"""Of an undisturbed worker's life; so many dumps are finished however slow the machine is."""

_SETTLED = 300.0


@dataclass(slots=True)
class Place:
    """A corpus and a teacher, the samples that they must give, and seconds that it takes."""

    folder: Path
    samples: str = ""
    seconds: float = 0.0


def worker_kills(tier: Tier) -> Outcome:
    """Dump after dump, two workers each, until enough were killed."""
    return kill_workers(KILLS[tier])


def kill_workers(kills: int, seed: int = 0) -> Outcome:
    """The same for any number."""
    outcome, generator = Outcome(), random.Random(seed)
    with scratch() as folder:
        place = _place(folder)
        while outcome.scenarios < kills:
            dump = folder / f"dump-{outcome.scenarios}"
            _one_dump(outcome, place, dump, (generator, kills))
    return outcome


def _one_dump(outcome: Outcome, place: Place, dump: Path, size: tuple[random.Random, int]) -> None:
    generator, kills = size
    before = outcome.scenarios
    while not (dump / "manifest.json").exists() and outcome.scenarios < kills:
        workers = [_start(place, dump) for _ in range(AT_ONCE)]
        for child in workers:
            time.sleep(generator.uniform(0, LONGEST_LIFE * place.seconds / AT_ONCE))
            os.kill(child, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status == -signal.SIGKILL:
                outcome.count("workers killed")
            elif status != 0:
                outcome.violate(dump.name, [f"a worker ended with {status}"])
    last = _start(place, dump)
    status = os.waitstatus_to_exitcode(os.waitpid(last, 0)[1])
    where = f"{dump.name}, after {outcome.scenarios - before} kills"
    if status:
        outcome.violate(where, [f"the last worker ended with {status}"])
        return
    outcome.figures["dumps compared"] = outcome.figures.get("dumps compared", 0) + 1
    if digest(dump) != place.samples:
        outcome.violate(where, ["its samples are not those of an undisturbed run"])
    outcome.violate(where, [f.problem for f in verify(str(dump)).findings])


def digest(dump: Path) -> str:
    """sha256 over every column of every row, in the order of ids."""
    opened = open_dump(dump)
    shards = [pq.read_table(opened.join(f"data/{shard.name}")) for shard in opened.shards]
    rows = pa.concat_tables(shards).sort_by("id").to_pylist()
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _place(folder: Path) -> Place:
    import torch

    torch.set_num_threads(1)
    tiny_teacher(folder / "teacher")
    rows = [
        {"text": f"Row {i} counts {i * 37 % 101} stones, and {i} more. " * 2} for i in range(ROWS)
    ]
    write_rows(folder / "corpus.jsonl", rows)
    place = Place(folder)
    _dump(place, folder / "imports")
    began = time.monotonic()
    _dump(place, folder / "undisturbed")
    place.seconds = time.monotonic() - began
    place.samples = digest(folder / "undisturbed")
    return place


def _start(place: Place, dump: Path) -> int:
    """Forks a worker; it does not outlive us by much."""
    child = os.fork()
    if child:
        return child
    signal.alarm(int(_SETTLED))
    try:
        _dump(place, dump)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _dump(place: Place, out: Path) -> None:
    from stage1_teacher.run import dump
    from stage1_teacher.settings import DumpSettings

    settings = DumpSettings(
        teacher=str(place.folder / "teacher"),
        corpus=str(place.folder / "corpus.jsonl"),
        out=str(out),
        dtype="float32",
        max_length=128,
        unit_size=UNIT_ROWS,
        license="unknown",
    )
    dump(settings)
