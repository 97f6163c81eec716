"""What capturing costs beside a bare forward pass: the transformers engine, one real teacher.

Process CPU time per captured token of four things on the same batches of real text, interleaved:

    body     the teacher's body alone
    head     body, and the head's product over the captured rows in preallocated blocks
    lse      head, and one log-sum-exp pass over the logits, which any normaliser needs
    capture  our engine with the default policy: kept entries, tail masses, tail sample

Shares: fp32 = head / capture (aim 0.92), bf16 = lse / capture (aim 0.90). Every repeat gives one
share and the median counts, so that a busy machine does not decide. The second table shows that
the memory a capture takes does not grow with the batch: only what it keeps does. Run as

    python -m benchmarks.capture --teacher FOLDER --corpus FILE.jsonl
"""

import argparse
import ctypes
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import write_result
from schemas.manifest import Capture
from stage1_teacher.capture import Reduction
from stage1_teacher.capture_signals import gather_signals
from stage1_teacher.engine import EngineSettings
from stage1_teacher.engine_transformers import TransformersEngine, batches
from stage1_teacher.head_rows import BLOCK_ROWS
from stage1_teacher.samples import Sample, Segment
from stage1_teacher.teacher_model import load_teacher
from stage1_teacher.teacher_proof import body_states

MIB = 1 << 20
ROWS = (512, 2048, 8192)
AIMS = {"float32": ("head", 0.92), "bfloat16": ("lse", 0.90)}


def main() -> None:
    """Measures both dtypes, prints the tables, writes results/capture.json."""
    options = _options()
    torch.set_num_threads(options.threads)
    samples = read_samples(options)
    tokens = sum(len(sample.input_ids) for sample in samples)
    results: dict[str, Any] = {
        "settings": {"tokens": tokens, "sequences": len(samples), **_plain(options)},
        "time": {},
        "memory": {},
    }
    print(f"{tokens} tokens in {len(samples)} sequences, {options.threads} thread(s)")
    print(f"{'dtype':<10}{'body':>9}{'head':>9}{'lse':>9}{'capture':>9}   share (aim)")
    for dtype in options.dtypes.split(","):
        bench = Bench(options, dtype, samples)
        figures = bench.times(options.repeats)
        results["time"][dtype] = figures
        results["memory"][dtype] = bench.memory()
        _print_times(dtype, figures)
    _print_memory(results["memory"])
    print("written:", write_result("capture", results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, type=Path, help="a model folder")
    parser.add_argument("--corpus", required=True, type=Path, help="JSON lines of text")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    return parser.parse_args()


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    """The options, paths by their last name only."""
    return {k: v.name if isinstance(v, Path) else v for k, v in vars(options).items()}


def read_samples(options: argparse.Namespace) -> list[Sample]:
    """Sequences of full length, cut from the corpus's texts one after another."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.teacher)
    ids: list[int] = []
    with options.corpus.open() as file:
        for line in file:
            text = "\n".join(str(value) for value in json.loads(line).values())
            ids += tokenizer(text)["input_ids"]
            if len(ids) >= options.tokens:
                break
    count = len(ids) // options.length
    return [_sample(ids, index, options.length) for index in range(count)][
        : options.tokens // options.length
    ]


def _sample(ids: list[int], index: int, length: int) -> Sample:
    part = np.asarray(ids[index * length : (index + 1) * length], np.int32)
    return Sample(
        id=f"bench-{index}",
        source="benchmark",
        input_ids=part,
        segments=(Segment(kind="text", start=0, end=length),),
        captured=((0, length - 1),),
    )


class Bench:
    """One teacher in one dtype, run in four ways."""

    def __init__(self, options: argparse.Namespace, dtype: str, samples: list[Sample]) -> None:
        settings = EngineSettings(
            model=options.teacher, dtype=dtype, device="cpu", batch_tokens=options.batch_tokens
        )
        self.samples = samples
        self.teacher = load_teacher(settings)
        self.engine = TransformersEngine(settings)
        self.ways = {
            "body": self._body,
            "head": lambda: self._head(lse=False),
            "lse": lambda: self._head(lse=True),
            "capture": self._capture,
        }
        lengths = [len(sample.input_ids) for sample in samples]
        self.batches = [
            torch.tensor(np.stack([samples[i].input_ids for i in part])).long()
            for part in batches(lengths, options.batch_tokens)
        ]
        rows, width = BLOCK_ROWS["cpu"].head, self.teacher.head.size
        self.logits = self.teacher.head.weight_VD.new_empty(rows, width)
        self.scratch = torch.empty(BLOCK_ROWS["cpu"].reduced, width)

    def times(self, repeats: int) -> dict[str, Any]:
        """CPU microseconds per token, and the median share, over interleaved repeats."""
        tokens = sum(len(sample.input_ids) for sample in self.samples)
        spent: dict[str, list[float]] = {name: [] for name in self.ways}
        self._head(lse=True)
        self._capture()
        for _ in range(repeats):
            for name, way in self.ways.items():
                spent[name].append(_cpu_seconds(way) / tokens * 1e6)
        shares = {
            base: round(statistics.median(_ratios(spent[base], spent["capture"])), 4)
            for base in ("body", "head", "lse")
        }
        medians = {name: round(statistics.median(values), 1) for name, values in spent.items()}
        return {"microseconds_per_token": medians, "share": shares}

    @torch.inference_mode()
    def memory(self) -> dict[str, Any]:
        """MiB of the block buffers, and how much a reduction of so many rows adds at its peak."""
        states = body_states(self.teacher.model, self.batches[0][:1]).flatten(0, 1)
        reduction = Reduction(self.teacher.head, Capture())
        _peak_mib(reduction, states, BLOCK_ROWS["cpu"].head)  # touches every page of the buffers
        peaks = {rows: _peak_mib(reduction, states, rows) for rows in ROWS}
        return {
            "buffers_mib": round(reduction.buffer_bytes / MIB, 1),
            "peak_beyond_buffers_mib": {str(rows): round(mib, 1) for rows, mib in peaks.items()},
            "dense_float32_mib": {str(n): n * self.teacher.head.size * 4 // MIB for n in ROWS},
        }

    @torch.inference_mode()
    def _body(self) -> None:
        for ids in self.batches:
            body_states(self.teacher.model, ids)

    @torch.inference_mode()
    def _head(self, *, lse: bool) -> None:
        for ids in self.batches:
            rows = body_states(self.teacher.model, ids)[:, :-1].flatten(0, 1)
            for part in rows.split(len(self.logits)):
                block = self.logits[: len(part)]
                self.teacher.head.logits(part, block)
                if lse:
                    self._log_sum_exp(block)

    def _log_sum_exp(self, logits: torch.Tensor) -> None:
        """The exact log-sum-exp in float32, rows that fit the cache at a time."""
        for part in logits.split(len(self.scratch)):
            scratch = self.scratch[: len(part)].copy_(part)
            largest = scratch.amax(-1, keepdim=True)
            (scratch.sub_(largest).exp_().sum(-1).log() + largest.squeeze(-1))

    def _capture(self) -> None:
        for _ in self.engine.capture(self.samples, Capture(), seed=0):
            pass


def _cpu_seconds(way: Callable[[], None]) -> float:
    start = time.process_time()
    way()
    return time.process_time() - start


def _ratios(bases: list[float], ours: list[float]) -> Iterable[float]:
    return (base / our for base, our in zip(bases, ours, strict=True))


def _peak_mib(reduction: Reduction, states: torch.Tensor, rows: int) -> float:
    """The process's peak beyond where it stood, while `rows` rows are reduced and gathered."""
    hidden = states.repeat(-(-rows // len(states)), 1)[:rows]
    ids, offsets = torch.zeros(rows, dtype=torch.long), torch.rand(rows, dtype=torch.float64)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before shall not serve now
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status_kib("VmRSS")
    gather_signals(reduction(hidden, ids, offsets), Capture().temperatures)
    return (_status_kib("VmHWM") - before) / 1024


def _status_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def _print_memory(memory: dict[str, Any]) -> None:
    print(f"\n{'dtype':<10}{'buffers':>9}   peak beyond them / dense fp32 logits, MiB, by rows")
    for dtype, figures in memory.items():
        dense = figures["dense_float32_mib"]
        peaks = figures["peak_beyond_buffers_mib"].items()
        row = "   ".join(f"{rows}: {mib} / {dense[rows]}" for rows, mib in peaks)
        print(f"{dtype:<10}{figures['buffers_mib']:>9}   {row}")


def _print_times(dtype: str, figures: dict[str, Any]) -> None:
    base, aim = AIMS[dtype]
    medians, share = figures["microseconds_per_token"], figures["share"]
    row = "".join(f"{medians[way]:>9.0f}" for way in ("body", "head", "lse", "capture"))
    print(f"{dtype:<10}{row}   {base} / capture = {share[base]:.3f} ({aim}); {share}", flush=True)


if __name__ == "__main__":
    main()
