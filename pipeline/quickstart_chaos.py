"""`potstill quickstart --chaos 20`: the quickstart's dump, killed again and again, and compared.

A slice of the corpus is dumped twice, once undisturbed. The other dump is killed with SIGKILL, at a
moment that is drawn anew each time: while it starts, while it computes, or while a unit is written
and committed. Then it runs to its end, and every sample of the two is compared.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.quickstart import TEACHER, Step
from schemas import layout
from schemas.dump_folder import DumpFolder, open_dump
from schemas.errors import DamagedError, TemporaryError
from schemas.manifest import canonical
from schemas.progress import Progress, Report

_UNIT_ROWS = 4
_SPARE_UNITS = 4
_WHILE_STARTING = 0.3
_POLL_SECONDS = 0.02
_LONGEST_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Survived:
    """What came of it.

    Attributes:
        kills: how often the dump was killed.
        samples: in either dump.
        units: in either dump.
        sha256: over all samples, of both dumps.
        seconds: that the killed dump took altogether.
    """

    kills: int
    samples: int
    units: int
    sha256: str
    seconds: float


def undisturbed(folder: Path, kills: int) -> Step:
    """The dump to compare with: enough units that `kills` of them may be under way when killed."""
    return _step(folder, f"undisturbed-{kills}", kills, "Dump a slice of the corpus, undisturbed")


def disturbed(folder: Path, kills: int) -> Step:
    """The dump that will be killed."""
    return _step(folder, f"chaos-{kills}", kills, f"Dump the same, killing it {kills} times")


def _step(folder: Path, name: str, kills: int, title: str) -> Step:
    rows = (kills + _SPARE_UNITS) * _UNIT_ROWS
    return Step(
        title=title,
        argv=(
            *("dump", "--teacher", str(folder / TEACHER), "--out", str(folder / name)),
            *("--corpus", str(folder / "corpus.jsonl"), "--corpus-license", "apache-2.0"),
            *("--max-length", "256", "--limit", str(rows), "--unit-size", str(_UNIT_ROWS)),
        ),
        product=folder / name / layout.MANIFEST,
    )


class Chaos:
    """Kills one dump again and again.

    Args of the constructor:
        step: the dump.
        kills: how often.
        report: told of every kill.
        draw: when to kill.
    """

    def __init__(
        self, step: Step, kills: int, report: Report, draw: random.Random | None = None
    ) -> None:
        self._step = step
        self._kills = kills
        self._report = report
        self._draw = draw or random.Random()
        self._dump = step.product.parent
        self._start_seconds = self._unit_seconds = 1.0

    def run(self) -> float:
        """Kills it as often as asked, then lets it finish; gives the seconds.

        Raises:
            TemporaryError: it ended by itself, or hangs; its last words are in the message.
        """
        began = time.monotonic()
        for number in range(self._kills):
            seconds = self._one(number)
            self._tell(number + 1, f"kill {number + 1}: SIGKILL after {seconds:.1f} s")
        if self._start().wait() != 0:
            raise self._ended("could not be finished after the kills")
        return time.monotonic() - began

    def _one(self, number: int) -> float:
        """One run up to its death."""
        process = self._start()
        began, before = time.monotonic(), self.units()
        starting = number > 0 and self._draw.random() < _WHILE_STARTING
        if starting:
            time.sleep(self._draw.uniform(0, self._start_seconds))
        else:
            self._await_unit(process, before)
            self._start_seconds = time.monotonic() - began
            time.sleep(self._draw.uniform(0, self._unit_seconds))
        if process.poll() is not None:
            raise self._ended("ended before it was killed")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return time.monotonic() - began

    def _await_unit(self, process: "subprocess.Popen[bytes]", before: int) -> None:
        """Until this run has committed a unit."""
        deadline = time.monotonic() + _LONGEST_SECONDS
        while self.units() == before:
            if process.poll() is not None or time.monotonic() > deadline:
                raise self._ended("ended or hung before it committed a unit")
            time.sleep(_POLL_SECONDS)

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", "pipeline.cli", *self._step.argv, "--quiet"]
        with self._log.open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def _ended(self, what: str) -> TemporaryError:
        words = self._log.read_text("utf-8", "replace").strip()[-1000:]
        return TemporaryError(f"`{self._step.command}` {what}: {words or 'it said nothing'}")

    def _tell(self, kills: int, message: str) -> None:
        self._report(
            Progress(
                stage="chaos",
                done=kills,
                total=self._kills,
                unit="kills",
                figures={"units": self.units()},
                message=message,
            )
        )

    def units(self) -> int:
        """Committed ones."""
        return len(list((self._dump / layout.COMMITS).glob("*/[0-9]*.json")))

    @property
    def _log(self) -> Path:
        return self._dump.with_name(f"{self._dump.name}.log")


def compare(expected: Path, found: Path) -> tuple[str, int]:
    """The sha256 over all samples of both dumps, and how many there are.

    Raises:
        DamagedError: a sample is lost, doubled or another one.
    """
    here, there = (samples(open_dump(path)) for path in (expected, found))
    if here != there:
        ids = sorted({key for key, _ in here ^ there})
        raise DamagedError(
            f"{found} is not what {expected} is: {len(ids)} samples differ, such as {ids[0]}. "
            "This is a bug of potstill; please report it with both folders."
        )
    total = hashlib.sha256(b"".join(digest for _, digest in sorted(here)))
    return f"sha256:{total.hexdigest()}", len(here)


def samples(dump: DumpFolder) -> set[tuple[str, bytes]]:
    """Ids of all samples with the sha256 of everything that is stored of each.

    Raises:
        DamagedError: an id twice.
    """
    rows = list(_rows(dump))
    if len({key for key, _ in rows}) != len(rows):
        raise DamagedError(f"{dump.url} holds a sample twice. This is a bug; please report it.")
    return set(rows)


def _rows(dump: DumpFolder) -> Iterator[tuple[str, bytes]]:
    for shard in dump.shards:
        file = dump.shard_file(shard)
        with dump.reading(shard.name):
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group).to_pylist():
                    yield row["id"], hashlib.sha256(canonical(row)).digest()


def survive(folder: Path, kills: int, report: Report, prove: Callable[[], None]) -> Survived:
    """Kills, finishes, proves and compares.

    Args:
        folder: of the quickstart, its undisturbed dump finished.
        kills: how often.
        report: told of every kill.
        prove: verifies the killed dump; it may raise.
    """
    plain, killed = undisturbed(folder, kills), disturbed(folder, kills)
    seconds = Chaos(killed, kills, report).run()
    prove()
    digest, count = compare(plain.product.parent, killed.product.parent)
    units = len(open_dump(killed.product.parent).shards)
    return Survived(kills=kills, samples=count, units=units, sha256=digest, seconds=seconds)
