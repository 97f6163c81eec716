"""What capturing costs while vLLM generates: one real teacher, one CPU.

Process CPU time per generated token of these, interleaved, on one engine in this process:

    plain     vLLM alone, each response by its own seed
    capture   our engine with the default policy: the distribution of every generated token
    top64     our engine with 64 entries per position
    logprobs64  vLLM's own log-probabilities of 64 entries, flat and without text

All take the same prompts and draw from the same settings, and ends are ignored, so each writes
exactly --new tokens per prompt. Run as

    python -m benchmarks.vllm_generation --teacher FOLDER --corpus FILE.jsonl
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from benchmarks import vllm_bench  # isort: skip

from benchmarks.capture import read_samples
from benchmarks.machine import write_result
from benchmarks.process import Work, interleaved, share
from schemas.manifest import Capture
from stage1_teacher.completions import Prompt, Sampling
from stage1_teacher.samples import Sample

PAIRS = {
    "capture of plain": ("plain", "capture", 0.84),
    "top64 of plain": ("plain", "top64", 0.84),
    "capture beside logprobs64": ("logprobs64", "capture", None),
}
"""CPU time of the first over that of the second, and the aim."""


def main() -> None:
    """Measures, prints the table, writes results/vllm_generation.json."""
    options = _options()
    samples = read_samples(options)
    settings = {k: v.name if isinstance(v, Path) else v for k, v in vars(options).items()}
    runs = {}
    for run in options.runs.split(","):
        runs[run] = Bench(options, run, samples).figures()
        _print(run, runs[run])
    print("written:", write_result("vllm_generation", {"settings": settings, "runs": runs}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, type=Path, help="a model folder")
    parser.add_argument("--corpus", required=True, type=Path, help="JSON lines of text")
    parser.add_argument("--tokens", type=int, default=1024, help="of all prompts")
    parser.add_argument("--length", type=int, default=64, help="of one prompt")
    parser.add_argument("--new", type=int, default=32, help="tokens of one response")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument(
        "--runs",
        default="float32/float32,bfloat16/float32,bfloat16/model",
        help="precision of the model / of the head",
    )
    return parser.parse_args()


class Bench:
    """One teacher in one precision under one vLLM."""

    def __init__(self, options: argparse.Namespace, run: str, samples: list[Sample]) -> None:
        dtype, head_dtype = run.split("/")
        self.options = options
        self.prompts = [
            Prompt(id=sample.id, input_ids=sample.input_ids, max_tokens=options.new)
            for sample in samples
        ]
        self.engine = vllm_bench.started(
            options.teacher,
            dtype,
            options.length + options.new + 1,
            batch_tokens=2048,
            head_dtype=head_dtype,
            max_logprobs=64,
        )
        self.engine._ends.clear()

    def figures(self) -> dict[str, Any]:
        """Microseconds per generated token, and shares."""
        tokens = len(self.prompts) * self.options.new
        spent = interleaved(self._ways(), self.options.repeats, tokens)
        return {
            "microseconds_per_token": {k: round(statistics.median(v), 1) for k, v in spent.items()},
            "share": {name: share(spent[a], spent[b]) for name, (a, b, _) in PAIRS.items()},
        }

    def _ways(self) -> dict[str, Work]:
        return {
            "plain": self._plain,
            "capture": lambda: self._capture(Capture()),
            "top64": lambda: self._capture(Capture(min_prob=None, top_k=64)),
            "logprobs64": lambda: self._plain(logprobs=64, flat_logprobs=True),
        }

    def _plain(self, **params: Any) -> None:
        sampling = self._sampling()
        vllm_bench.generate(
            self.engine,
            [prompt.input_ids for prompt in self.prompts],
            seeds=[sampling.seed_of(prompt.id) for prompt in self.prompts],
            max_tokens=self.options.new,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            ignore_eos=True,
            detokenize=False,
            **params,
        )

    def _capture(self, capture: Capture) -> None:
        for _ in self.engine.generate(self.prompts, self._sampling(), capture, seed=0):
            pass

    def _sampling(self) -> Sampling:
        return Sampling(temperature=self.options.temperature, top_p=self.options.top_p)


def _print(run: str, figures: dict[str, Any]) -> None:
    print(f"\n{run}, CPU µs per generated token:", figures["microseconds_per_token"])
    for name, (_, _, aim) in PAIRS.items():
        print(f"  {name:<28}{figures['share'][name]:>8.3f}   (aim {aim})", flush=True)


if __name__ == "__main__":
    main()
