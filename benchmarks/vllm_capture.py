"""What capturing costs beside a bare prefill under vLLM: one real teacher, real text, one CPU.

Process CPU time per token of these, interleaved, on one engine in this process:

    prefill    vLLM alone
    head       prefill, and the head's product over the captured rows in preallocated blocks
    lse        head, and one log-sum-exp pass over the logits, which any normaliser needs
    capture    our engine with the default policy: kept entries, tail masses, tail sample
    top8 …     our engine with so many entries per position, default tail sample
    hidden     capture, and the hidden state that the head reads
    flat64 …   vLLM's own prompt_logprobs, flat and without text
    default64 …  the same as they come

Every repeat gives one share of each pair and the median counts, so that a busy machine does not
decide. Head and log-sum-exp are measured in the precision that the capture has; vLLM's own
log-probabilities have the model's, so the run bfloat16/model is the one that compares like with
like, and where bfloat16/float32 pays for a better head. Then the memory
that reading a step takes at its peak, the buffers included, for prompts of several lengths: what it
must not depend on. Run as

    python -m benchmarks.vllm_capture --teacher FOLDER --corpus FILE.jsonl
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from benchmarks import vllm_bench  # isort: skip

import torch

from benchmarks.capture import read_samples
from benchmarks.machine import write_result
from benchmarks.process import Work, interleaved, peak_mib, share
from schemas.manifest import Capture
from stage1_teacher.head_rows import BLOCK_ROWS
from stage1_teacher.samples import Sample
from stage1_teacher.vllm_step import Step

DEFAULT = Capture()
HIDDEN = Capture(hidden_layers=["last"], hidden_codec="bf16")
PAIRS = {
    "capture of lse": ("lse", "capture", 0.92),
    "top64 of lse": ("lse", "top64", 0.92),
    "capture of prefill": ("prefill", "capture", 0.75),
    "top64 beside flat64": ("flat64", "top64", 1.1),
    "top64 beside default64": ("default64", "top64", 1.4),
    "top128 beside default128": ("default128", "top128", 1.5),
    "top128 of top8": ("top8", "top128", 0.95),
    "hidden of capture": ("capture", "hidden", 0.92),
}
"""CPU time of the first over that of the second, and the aim."""
MIB = 1 << 20


def main() -> None:
    """Measures every dtype, prints the tables, writes results/vllm_capture.json."""
    options = _options()
    samples = read_samples(options)
    settings = {k: v.name if isinstance(v, Path) else v for k, v in vars(options).items()}
    runs = {}
    for run in options.runs.split(","):
        runs[run] = Bench(options, run, samples).figures()
        _print(run, runs[run])
    print("written:", write_result("vllm_capture", {"settings": settings, "runs": runs}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, type=Path, help="a model folder")
    parser.add_argument("--corpus", required=True, type=Path, help="JSON lines of text")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--runs",
        default="float32/float32,bfloat16/float32,bfloat16/model",
        help="precision of the model / of the head",
    )
    return parser.parse_args()


class Bench:
    """One teacher in one precision under one vLLM, run in many ways."""

    def __init__(self, options: argparse.Namespace, run: str, samples: list[Sample]) -> None:
        dtype, head_dtype = run.split("/")
        self.repeats, self.samples = options.repeats, samples
        self.prompts = [sample.input_ids[:-1] for sample in samples]
        self.engine = vllm_bench.started(
            options.teacher,
            dtype,
            4 * options.length + 1,
            batch_tokens=options.batch_tokens,
            head_dtype=head_dtype,
            max_logprobs=128,
        )
        self.head = vllm_bench.capturer_of(self.engine)._head.head
        rows = BLOCK_ROWS["cpu"]
        self.logits = torch.empty(rows.head, self.head.size, dtype=self.head.logits_dtype)
        self.scratch = torch.empty(rows.reduced, self.head.size)

    def figures(self) -> dict[str, Any]:
        """Microseconds per token, shares, and memory."""
        spent = interleaved(self._ways(), self.repeats, sum(len(p) for p in self.prompts))
        return {
            "microseconds_per_token": {k: round(statistics.median(v), 1) for k, v in spent.items()},
            "share": {name: share(spent[a], spent[b]) for name, (a, b, _) in PAIRS.items()},
            "memory": self._memory(),
        }

    def _ways(self) -> dict[str, Work]:
        return {
            "prefill": self._prefill,
            "head": lambda: self._with_head(lse=False),
            "lse": lambda: self._with_head(lse=True),
            "capture": lambda: self._capture(DEFAULT),
            **{f"top{k}": lambda k=k: self._capture(_top(k)) for k in (8, 64, 128)},
            "hidden": lambda: self._capture(HIDDEN),
            "flat64": lambda: self._logprobs(64, flat_logprobs=True, detokenize=False),
            **{f"default{k}": lambda k=k: self._logprobs(k) for k in (64, 128)},
        }

    def _prefill(self) -> None:
        vllm_bench.generate(self.engine, self.prompts, max_tokens=1, detokenize=False)

    def _logprobs(self, k: int, **params: Any) -> None:
        vllm_bench.generate(self.engine, self.prompts, max_tokens=1, prompt_logprobs=k, **params)

    def _with_head(self, *, lse: bool) -> None:
        def work(step: Step) -> None:
            for part in step.hidden_ND.split(len(self.logits)):
                block = self.logits[: len(part)]
                self.head.logits(part, block)
                if lse:
                    self._log_sum_exp(block)

        with vllm_bench.after_steps(self.engine, work):
            self._prefill()

    def _log_sum_exp(self, logits: torch.Tensor) -> None:
        """The exact log-sum-exp in float32, rows that fit the cache at a time."""
        for part in logits.split(len(self.scratch)):
            scratch = self.scratch[: len(part)].copy_(part)
            largest = scratch.amax(-1, keepdim=True)
            (scratch.sub_(largest).exp_().sum(-1).log() + largest.squeeze(-1))

    def _capture(self, capture: Capture) -> None:
        for _, signals in self.engine.capture(self.samples, capture, seed=0):
            for states in signals.hidden.values():
                states.sum()  # a mapped file costs when it is read

    def _memory(self) -> dict[str, Any]:
        """MiB of the buffers and of the worst step's reading, by tokens of a prompt; the bound."""
        ids, found = self.samples[0].input_ids, {}
        for times in (1, 2, 4):
            sample = Sample(
                id="long",
                source="",
                input_ids=ids.repeat(times),
                segments=(),
                captured=((0, times * len(ids) - 1),),
            )
            found[str(times * len(ids))] = round(self._worst_step(sample), 1)
        bound = BLOCK_ROWS["cpu"].head * self.head.size * 6 / MIB
        return {"peak_mib": found, "bound_mib": round(bound, 1)}

    def _worst_step(self, sample: Sample) -> float:
        capturer, peaks = vllm_bench.capturer_of(self.engine), []
        read = capturer._after
        capturer._after = lambda step: peaks.append(peak_mib(lambda: read(step)))
        try:
            list(self.engine.capture([sample], DEFAULT, seed=0))
        finally:
            del capturer._after
        return float(max(peaks)) + capturer._policy[1].buffer_bytes / MIB


def _top(k: int) -> Capture:
    return Capture(min_prob=None, top_k=k)


def _print(run: str, figures: dict[str, Any]) -> None:
    print(f"\n{run}, CPU µs per token:", figures["microseconds_per_token"])
    for name, (_, _, aim) in PAIRS.items():
        print(f"  {name:<26}{figures['share'][name]:>8.3f}   (aim {aim})")
    print("  memory:", figures["memory"], flush=True)


if __name__ == "__main__":
    main()
