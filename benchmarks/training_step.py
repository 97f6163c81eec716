"""What a distillation step costs, beside cross-entropy steps: time and peak memory.

A random 49.6M-parameter student (SmolLM2-135M's shape with 6 layers, V = 49,152), 2,048 tokens a
step. Run as

    python -m benchmarks.training_step [--dtype bfloat16] [--vocabulary 151936] [--repeats 5]
        [--distillkit CHECKOUT] [--axolotl CHECKOUT] [--step-only] [--losses]

Other programs' losses stand beside ours where they are installed and run on this machine
(`training_step_peers.py` says how to get them). With --losses it times every loss beside forward KL
instead (losses_<dtype>.json), the head alone.

Times are CPU seconds of arms that take turns, so that a busy machine hits all of them. Big
temporaries cost less on huge pages (THP_MEM_ALLOC_ENABLE=1), transformers' most of all, so its step
is measured with and without. Memory is the peak of a process of its own per arm: above what it held
after its imports, and above what it holds between two steps, which are weights and Adam's moments.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.machine import write_result
from benchmarks.training_step_arms import (
    EVERY_LOSS,
    NAMES,
    POSITIONS,
    WIDTH,
    Arm,
    loss_arms,
    peer_losses,
    step_arms,
)
from benchmarks.training_step_memory import Peaks, memory_ratios, own_peaks
from benchmarks.training_step_peers import runnable

VOCABULARY = 49_152
STEPS = [
    ("transformers ce", False),
    ("fkl sample", False),
    ("transformers ce", True),
    ("torch linear ce", True),
    ("dense fkl", True),
    ("fused ce", True),
    ("fkl sample", True),
]
"""(arm, on huge pages?)"""
REMEMBERED = ["transformers ce", "torch linear ce", "dense fkl", "fused ce", "fkl sample"]


def main() -> None:
    """Measures, writes results/training_step_<dtype>.json and prints the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        arm = options.memory_of
        print(json.dumps(asdict(own_peaks(lambda: step_arms([arm], options)[arm]))))
    elif options.worker:
        _work(options)
    elif options.losses:
        _measure_losses(options)
    else:
        _measure(options)


def _measure_losses(options: argparse.Namespace) -> None:
    """Every loss on the same head in turns; writes results/losses_<dtype>.json."""
    worker = Worker(options, huge=True)
    times = _times([Timed(worker, "loss", name, True) for name in EVERY_LOSS], options)
    ratios = {name: round(t["min"] / times["fkl"]["min"], 3) for name, t in times.items()}
    result = {"setting": _setting(options), "cpu_seconds": times, "beside fkl": ratios}
    write_result(_name("losses", options), result)
    for name, seconds in times.items():
        print(f"{name:<34}{seconds['min']:>8.2f}{seconds['median']:>8.2f}{ratios[name]:>8.3f}")


def _setting(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "positions": POSITIONS,
        "vocabulary": options.vocabulary,
        "width": WIDTH,
        "dtype": options.dtype,
        "threads": options.threads,
        "repeats": options.repeats,
    }


def _measure(options: argparse.Namespace) -> None:
    others, failed = _peers(options)
    peaks = {arm: _peak_of(arm, options) for arm in (*REMEMBERED, *others)}
    workers = {huge: Worker(options, huge) for huge in (False, True)}
    steps = [*STEPS, *((arm, True) for arm in others)]
    step = _times([Timed(workers[huge], "step", arm, huge) for arm, huge in steps], options)
    names = [] if options.step_only else [*NAMES, *others]
    alone = _times([Timed(workers[True], "loss", arm, True) for arm in names], options)
    result = {
        "setting": _setting(options),
        "cannot run here": failed,
        "step_cpu_seconds": step,
        "loss_alone_cpu_seconds": alone,
        "step_peak_mib": {arm: peak.whole for arm, peak in peaks.items()},
        "step_peak_mib_beyond_rest": {arm: peak.beyond_rest for arm, peak in peaks.items()},
        "ratios": _ratios(step, alone, peaks),
    }
    write_result(_name("training_step", options), result)
    _print(result)


def _name(what: str, options: argparse.Namespace) -> str:
    wide = "" if options.vocabulary == VOCABULARY else f"_v{options.vocabulary}"
    return f"{what}_{options.dtype}{wide}"


def _peers(options: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """(other programs' losses that run here, why the others do not), tried on a small head."""
    if not options.peers:
        return [], {}
    small = argparse.Namespace(**{**vars(options), "vocabulary": 2048})
    states = torch.randn(POSITIONS, WIDTH, requires_grad=True)
    weight = torch.randn(2048, WIDTH, requires_grad=True)
    running, failed = runnable(peer_losses(small), states, weight)
    return list(running), failed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--distillkit", help="folder of a checkout of arcee-ai/DistillKit")
    parser.add_argument("--axolotl", help="folder of a checkout of axolotl-ai-cloud/axolotl")
    parser.add_argument("--step-only", action="store_true", help="without the loss alone")
    parser.add_argument("--losses", action="store_true", help="time every loss beside fkl")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


class Worker:
    """A process that runs arms one at a time on request and answers with their CPU seconds."""

    def __init__(self, options: argparse.Namespace, huge: bool) -> None:
        self._process = subprocess.Popen(
            [*_command(options), "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(huge),
        )

    def run(self, part: str, arm: str, every: list[str]) -> float:
        """CPU seconds of one run of an arm; the first call of a part makes `every` arm of it."""
        self._process.stdin.write(json.dumps([part, arm, every]) + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


@dataclass(frozen=True, slots=True)
class Timed:
    """One line of a table: an arm of the whole step or of the loss alone, in a worker."""

    worker: Worker
    part: str
    arm: str
    huge: bool

    @property
    def name(self) -> str:
        """The line's name in tables and results."""
        return self.arm if self.huge else f"{self.arm}, ordinary pages"


def _work(options: argparse.Namespace) -> None:
    make = {"step": step_arms, "loss": loss_arms}
    arms: dict[str, dict[str, Arm]] = {}
    for line in sys.stdin:
        part, name, every = json.loads(line)
        if part not in arms:
            arms[part] = make[part](every, options)
        started = time.process_time()
        arms[part][name]()
        print(time.process_time() - started, flush=True)


def _times(lines: list[Timed], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """CPU seconds of each line, in turns; the first round only warms up."""
    seconds: dict[str, list[float]] = {line.name: [] for line in lines}
    for turn in range(options.repeats + 1):
        for line in lines:
            every = [other.arm for other in lines if other.worker is line.worker]
            used = line.worker.run(line.part, line.arm, every)
            if turn:
                seconds[line.name].append(used)
    return {
        name: {"min": round(min(s), 3), "median": round(statistics.median(s), 3)}
        for name, s in seconds.items()
    }


def _environment(huge: bool) -> dict[str, str]:
    return {**os.environ, "THP_MEM_ALLOC_ENABLE": str(int(huge))}


def _command(options: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.training_step", "--dtype", options.dtype]
    command += ["--threads", str(options.threads), "--vocabulary", str(options.vocabulary)]
    for name in ("distillkit", "axolotl"):
        folder = getattr(options, name)
        command += [f"--{name}", folder] if folder else []
    return command


def _peak_of(arm: str, options: argparse.Namespace) -> Peaks:
    """Of an arm in a fresh process."""
    command = [*_command(options), "--memory-of", arm]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=_environment(True)
    )
    return Peaks(**json.loads(done.stdout))


def _ratios(
    step: dict[str, dict[str, float]],
    alone: dict[str, dict[str, float]],
    peaks: dict[str, Peaks],
) -> dict[str, float]:
    def of(times: dict[str, dict[str, float]], arm: str, other: str) -> float:
        return round(times[arm]["min"] / times[other]["min"], 3)

    plain = ", ordinary pages"
    ratios = {
        f"step: fkl / {arm}": of(step, "fkl sample", arm)
        for arm in step
        if arm != "fkl sample" and plain not in arm
    }
    ratios |= {
        "step: fkl / transformers ce, both on ordinary pages": of(
            step, f"fkl sample{plain}", f"transformers ce{plain}"
        ),
        "step: fkl on huge pages / transformers ce as it comes": of(
            step, "fkl sample", f"transformers ce{plain}"
        ),
    }
    ratios |= memory_ratios(peaks, "fkl sample")
    sizes = {size: f"fkl sample k={size}" for size in (8, 256)}
    return ratios | {
        f"loss alone: k={size} / k=64": of(alone, arm, "fkl sample")
        for size, arm in sizes.items()
        if arm in alone
    }


def _print(result: dict[str, Any]) -> None:
    for part in ("step", "loss_alone"):
        print(f"{part + ', CPU seconds':<34}{'min':>8}{'median':>8}{'peak MiB':>10}")
        for name, seconds in result[f"{part}_cpu_seconds"].items():
            peak = result["step_peak_mib"].get(name, "") if part == "step" else ""
            print(f"{name:<34}{seconds['min']:>8.2f}{seconds['median']:>8.2f}{peak:>10}")
    for name, reason in result["cannot run here"].items():
        print(f"cannot run here: {name}: {reason}")
    for name, ratio in result["ratios"].items():
        print(f"{name:<60}{ratio:>8.3f}")


if __name__ == "__main__":
    main()
