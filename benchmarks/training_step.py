"""What a distillation step costs, beside cross-entropy steps: time and peak memory.

A random 49.6M-parameter student (SmolLM2-135M's shape with 6 layers, V = 49,152), 2,048 tokens a
step. Run as

    python -m benchmarks.training_step [--dtype bfloat16] [--threads 2] [--repeats 5]

Times are CPU seconds of arms that take turns, so that a busy machine hits all of them. Big
temporaries cost less on huge pages (THP_MEM_ALLOC_ENABLE=1), transformers' most of all, so its step
is measured with and without. Memory is the peak of a process of its own per arm, above what it held
after its imports.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.machine import write_result
from stage2_student.distillation import distillation_loss
from stage2_student.objective import make_objective
from stage2_student.targets import Targets

ROWS, LENGTH, VOCABULARY, WIDTH = 4, 512, 49_152, 576
POSITIONS = ROWS * (LENGTH - 1)
DRAWS = 32
OBJECTIVES = {
    "fused ce": make_objective("ce"),
    "fkl sample": make_objective("fkl"),
    "fkl bucket": make_objective("fkl", tail="bucket"),
    "0.9 fkl(T=2) + 0.1 ce": make_objective("fkl", 2.0, 0.1),
}
NAMES = [
    "transformers ce",
    "torch linear ce",
    *OBJECTIVES,
    "fkl sample k=8",
    "fkl sample k=256",
    "dense fkl",
]
STEPS = [
    ("transformers ce", False),
    ("fkl sample", False),
    ("transformers ce", True),
    ("fused ce", True),
    ("fkl sample", True),
]
"""(arm, on huge pages?)"""
REMEMBERED = ["transformers ce", "fused ce", "fkl sample"]
Arm = Callable[[], None]


def main() -> None:
    """Measures, writes results/training_step_<dtype>.json and prints the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(json.dumps(_own_peak(options)))
    elif options.worker:
        _work(options)
    else:
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    peaks = {arm: _peak_of(arm, options) for arm in REMEMBERED}
    workers = {huge: Worker(options, huge) for huge in (False, True)}
    step = _times([Timed(workers[huge], "step", arm, huge) for arm, huge in STEPS], options)
    alone = _times([Timed(workers[True], "loss", arm, True) for arm in NAMES], options)
    result = {
        "setting": {
            "positions": POSITIONS,
            "vocabulary": VOCABULARY,
            "width": WIDTH,
            "dtype": options.dtype,
            "threads": options.threads,
            "repeats": options.repeats,
        },
        "step_cpu_seconds": step,
        "loss_alone_cpu_seconds": alone,
        "step_peak_mib": peaks,
        "ratios": _ratios(step, alone, peaks),
    }
    write_result(f"training_step_{options.dtype}", result)
    _print(result)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-of", choices=REMEMBERED, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _student() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


def _targets(kept: int) -> Targets:
    """Random targets: per row `kept` different ids with a Zipf-like teacher and a tail sample."""
    generator = torch.Generator().manual_seed(1)
    first = torch.randint(VOCABULARY, (POSITIONS, 1), generator=generator)
    ids_NK = (first + 191 * torch.arange(kept)) % VOCABULARY
    logits_NK = -2 * torch.log(torch.arange(1.0, kept + 1)).expand(POSITIONS, kept)
    draws = torch.randint(0, DRAWS // 2, (POSITIONS, 1), generator=generator)
    absent_NS = torch.arange(DRAWS) >= draws
    mass_N = torch.full((POSITIONS,), -2.5)
    return Targets(
        rows_N=torch.arange(POSITIONS),
        ids_NK=ids_NK,
        logits_NK=logits_NK.contiguous(),
        tail_logmass_N={1.0: mass_N, 2.0: mass_N / 2},
        tail_ids_NS=(first - 7 * torch.arange(1, DRAWS + 1)) % VOCABULARY,
        tail_logits_NS=torch.full((POSITIONS, DRAWS), -9.0).masked_fill(absent_NS, -torch.inf),
        draws_per_unit=64,
        labels_N=torch.randint(VOCABULARY, (POSITIONS,), generator=generator),
        token_logprobs_N=torch.full((POSITIONS,), -3.0),
        weights_N=torch.ones(POSITIONS),
    )


def _head_loss(arm: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """(hidden [POSITIONS, D], weight [V, D]) → mean loss, for every arm but transformers' own."""
    name, _, kept = arm.partition(" k=")
    targets = _targets(int(kept or 64))
    if name in OBJECTIVES:
        objective = OBJECTIVES[name]
        return lambda h, w: distillation_loss(h, w, targets, objective).total / POSITIONS
    if name == "torch linear ce":
        return lambda h, w: torch.nn.functional.linear_cross_entropy(h, w, targets.labels_N)
    if name == "dense fkl":
        return _dense_fkl()
    return lambda h, w: torch.nn.functional.cross_entropy(
        torch.nn.functional.linear(h, w).float(), targets.labels_N
    )


def _dense_fkl() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Against a dense teacher whose probabilities are already there: no teacher's forward in it."""
    logp = torch.randn(POSITIONS, VOCABULARY).log_softmax(-1)

    def loss(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        logq = torch.nn.functional.linear(hidden, weight).float().log_softmax(-1)
        return torch.nn.functional.kl_div(logq, logp, log_target=True, reduction="batchmean")

    return loss


def _autocast(options: argparse.Namespace) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16, enabled=options.dtype == "bfloat16")


def _loss_arms(options: argparse.Namespace) -> dict[str, Arm]:
    """The loss alone: forward and backward to hidden states and weight."""
    hidden = torch.randn(POSITIONS, WIDTH, requires_grad=True)
    weight = (torch.randn(VOCABULARY, WIDTH) / WIDTH**0.5).requires_grad_()

    def arm(name: str) -> Arm:
        loss_of = _head_loss(name)

        def run() -> None:
            with _autocast(options):
                loss = loss_of(hidden, weight)
            loss.backward()
            hidden.grad = weight.grad = None

        return run

    return {name: arm(name) for name in NAMES}


def _step_arms(names: list[str], options: argparse.Namespace) -> dict[str, Arm]:
    """A whole optimizer step of one student that the arms share."""
    student = _student()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5, fused=True)  # as Trainer does
    ids = torch.randint(VOCABULARY, (ROWS, LENGTH))

    def loss_of(name: str) -> Callable[[], torch.Tensor]:
        if name == "transformers ce":
            return lambda: student(input_ids=ids, labels=ids, use_cache=False).loss
        head_loss = _head_loss(name)

        def loss() -> torch.Tensor:
            states = student.model(ids, use_cache=False).last_hidden_state
            return head_loss(states[:, :-1].flatten(0, 1), student.lm_head.weight)

        return loss

    def arm(name: str) -> Arm:
        forward = loss_of(name)

        def run() -> None:
            with _autocast(options):
                loss = forward()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return run

    return {name: arm(name) for name in names}


class Worker:
    """A process that runs arms one at a time on request and answers with their CPU seconds."""

    def __init__(self, options: argparse.Namespace, huge: bool) -> None:
        environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": str(int(huge))}
        pipe = subprocess.PIPE
        command = [*_command(options), "--worker"]
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment
        )

    def run(self, part: str, arm: str) -> float:
        self._process.stdin.write(json.dumps([part, arm]) + "\n")
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
        return self.arm if self.huge else f"{self.arm}, ordinary pages"


def _work(options: argparse.Namespace) -> None:
    arms = {"step": _step_arms([arm for arm, _ in STEPS], options), "loss": _loss_arms(options)}
    for line in sys.stdin:
        part, name = json.loads(line)
        started = time.process_time()
        arms[part][name]()
        print(time.process_time() - started, flush=True)


def _times(lines: list[Timed], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """CPU seconds of each line, in turns; the first round only warms up."""
    seconds: dict[str, list[float]] = {line.name: [] for line in lines}
    for turn in range(options.repeats + 1):
        for line in lines:
            used = line.worker.run(line.part, line.arm)
            if turn:
                seconds[line.name].append(used)
    return {
        name: {"min": round(min(s), 3), "median": round(statistics.median(s), 3)}
        for name, s in seconds.items()
    }


def _command(options: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.training_step"]
    return [*command, "--dtype", options.dtype, "--threads", str(options.threads)]


def _peak_of(arm: str, options: argparse.Namespace) -> float:
    """MiB at the peak of three steps in a fresh process, above what its imports hold."""
    command = [*_command(options), "--memory-of", arm]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout))


def _own_peak(options: argparse.Namespace) -> float:
    before = _status("VmRSS")
    run = _step_arms([options.memory_of], options)[options.memory_of]
    for _ in range(3):
        run()
    return round(_status("VmHWM") - before, 1)


def _status(key: str) -> float:
    """MiB of a line of /proc/self/status: unlike getrusage it does not inherit a parent's peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def _ratios(
    step: dict[str, dict[str, float]],
    alone: dict[str, dict[str, float]],
    peaks: dict[str, float],
) -> dict[str, float]:
    def of(times: dict[str, dict[str, float]], arm: str, other: str) -> float:
        return round(times[arm]["min"] / times[other]["min"], 3)

    plain = ", ordinary pages"
    return {
        "step: fkl / fused ce": of(step, "fkl sample", "fused ce"),
        "step: fkl / transformers ce": of(step, "fkl sample", "transformers ce"),
        "step: the same, both on ordinary pages": of(
            step, f"fkl sample{plain}", f"transformers ce{plain}"
        ),
        "step: fkl on huge pages / transformers ce as it comes": of(
            step, "fkl sample", f"transformers ce{plain}"
        ),
        "step, peak memory: fkl / transformers ce": round(
            peaks["fkl sample"] / peaks["transformers ce"], 3
        ),
        "loss alone: k=8 / k=64": of(alone, "fkl sample k=8", "fkl sample"),
        "loss alone: k=256 / k=64": of(alone, "fkl sample k=256", "fkl sample"),
    }


def _print(result: dict[str, Any]) -> None:
    for part in ("step", "loss_alone"):
        print(f"{part + ', CPU seconds':<34}{'min':>8}{'median':>8}{'peak MiB':>10}")
        for name, seconds in result[f"{part}_cpu_seconds"].items():
            peak = result["step_peak_mib"].get(name, "") if part == "step" else ""
            print(f"{name:<34}{seconds['min']:>8.2f}{seconds['median']:>8.2f}{peak:>10}")
    for name, ratio in result["ratios"].items():
        print(f"{name:<60}{ratio:>8.3f}")


if __name__ == "__main__":
    main()
