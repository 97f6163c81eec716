"""One worker of a real dump beside two, each with one thread on a core of its own.

The clock runs from the moment when the teacher is loaded (of several workers: the first) until the
last unit is committed; importing, loading and the dump's end are left out, since a dump of a night
has them once. Waiting for the other worker's last unit counts. One and two are run in turns, since
other processes slow the machine down now and then: the figure is that of the medians, and beside it
stands the ratio of the processor's seconds, which other processes change less.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import Any

from schemas.progress import Progress

UNIT_ROWS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What is dumped, and by whom.

    Attributes:
        teacher: a model folder.
        corpus: a file.
        prompt: its column of prompts, if it has any; then `response` is that of the answers.
        response: see `prompt`.
        rows: so many of them.
    """

    teacher: str
    corpus: str
    prompt: str | None
    response: str | None
    rows: int


def workers(corpus: Corpus, rounds: int) -> dict[str, Any]:
    """Seconds of one worker and of two, `rounds` times in turns."""
    took: dict[int, list[float]] = {1: [], 2: []}
    processor: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for count in (1, 2):
            told = _run(corpus, count)
            ended, began = max(t["ended"] for t in told), min(t["began"] for t in told)
            took[count].append(ended - began)
            processor[count].append(max(t["processor"] for t in told))
    one, two = (statistics.median(took[count]) for count in (1, 2))
    return {
        "rows": corpus.rows,
        "unit_rows": UNIT_ROWS,
        "threads_each": 1,
        "seconds_of_one": took[1],
        "seconds_of_two": took[2],
        "processor_seconds_of_one": processor[1],
        "processor_seconds_of_the_slower_of_two": processor[2],
        "times_as_fast": one / two,
        "times_as_fast_by_processor": statistics.median(processor[1])
        / statistics.median(processor[2]),
    }


def _run(corpus: Corpus, count: int) -> list[dict[str, float]]:
    """Starts workers, lets them go at once when all are ready; what each tells."""
    with tempfile.TemporaryDirectory(prefix="potstill-bench-", dir=".") as folder:
        words = [sys.executable, "-m", "benchmarks.commit_workers", f"{folder}/dump"]
        words += [json.dumps(asdict(corpus))]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        running = [
            subprocess.Popen(
                [*words, str(core)], stdin=pipe, stdout=pipe, text=True, env=environment
            )
            for core in range(count)
        ]
        for process in running:
            _line(process)  # everything is imported
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [json.loads(_line(process)) for process in running]
        for process in running:
            process.communicate()
        return told


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a worker ended with {process.wait()}; its error stands above")
    return line


class Clock:
    """Hears a dump's progress: when units began to be computed, and when the last was committed."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, float]] = []

    def __call__(self, progress: Progress) -> None:
        """Of progress in rows."""
        if progress.stage == "dump" and progress.total is not None:
            self.heard.append((time.monotonic(), time.process_time()))

    def told(self) -> dict[str, float]:
        """What the measuring process is told; its clock is the same."""
        (began, before), (ended, after) = self.heard[0], self.heard[-1]
        return {"began": began, "ended": ended, "processor": after - before}


def main() -> None:
    """One worker: says that it is ready, waits for `go`, dumps, says how long it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("corpus", type=lambda text: Corpus(**json.loads(text)))
    parser.add_argument("core", type=int)
    asked = parser.parse_args()
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[asked.core]})
    import torch

    from stage1_teacher.run import dump
    from stage1_teacher.settings import DumpSettings

    torch.set_num_threads(1)
    settings = DumpSettings(
        teacher=asked.corpus.teacher,
        corpus=asked.corpus.corpus,
        prompt_column=asked.corpus.prompt,
        response_column=asked.corpus.response,
        out=asked.out,
        limit=asked.corpus.rows,
        unit_size=UNIT_ROWS,
        max_length=256,
        dtype="float32",
        license="unknown",
    )
    print("ready", flush=True)
    sys.stdin.readline()
    clock = Clock()
    dump(settings, clock)
    print(json.dumps(clock.told()), flush=True)


if __name__ == "__main__":
    main()
