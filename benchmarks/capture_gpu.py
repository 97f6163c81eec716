"""What capturing costs on an accelerator: random models of real shapes, as speed is the question.

Wall time between synchronisations, on hidden states that a model of that shape really gave:

    product    the head's product alone, over all rows, in one preallocated block at a time
    capture    the same rows reduced by our policy: kept entries, tail masses, tail sample

and for the whole model

    prefill    the body over a batch, and the head's product over its rows
    dump       our engine over the same batch, signals on the host

Aims: capture / product ≤ 1.12, within 5 % of each other for every k and threshold;
prefill / dump ≥ 0.98. Run as

    python -m benchmarks.capture_gpu [--shapes 1b,8b] [--rows 16384] [--repeats 5]

`--shapes tiny --device cpu --rows 256` only proves that the script works.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.machine import write_result
from schemas.manifest import Capture
from stage1_teacher.capture import Reduction
from stage1_teacher.capture_signals import gather_signals
from stage1_teacher.output_head import OutputHead
from stage1_teacher.teacher_proof import body_states

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {
        **{"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 5000},
    },
    "1b": {
        **{"hidden_size": 2048, "num_hidden_layers": 16, "intermediate_size": 8192},
        **{"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256},
    },
    "8b": {
        **{"hidden_size": 4096, "num_hidden_layers": 36, "intermediate_size": 12_288},
        **{"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 151_936},
    },
}
POLICIES = {
    "default": Capture(),
    "k=8": Capture(min_prob=None, top_k=8, tail_samples=0),
    "k=64": Capture(min_prob=None, top_k=64, tail_samples=0),
    "k=128": Capture(min_prob=None, top_k=128, tail_samples=0),
    "p>=1/128": Capture(min_prob=1 / 128),
    "p>=1/1024": Capture(min_prob=1 / 1024),
}
HEAD_ROWS = 4096
LENGTH = 1024


def main() -> None:
    """Measures every shape, prints the table, writes results/capture_gpu.json."""
    options = _options()
    results = {}
    for shape in options.shapes.split(","):
        results[shape] = Bench(options, shape).figures()
        _print(shape, results[shape])
    if options.device == "cpu":
        print("not written: these figures are about accelerators")
        return
    print("written:", write_result("capture_gpu", {"settings": vars(options), "shapes": results}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="1b,8b", help=", ".join(SHAPES))
    parser.add_argument("--rows", type=int, default=16_384)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    return parser.parse_args()


class Bench:
    """A random model of one shape in bfloat16, and what is timed on it."""

    def __init__(self, options: argparse.Namespace, shape: str) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        self.options = options
        self.cuda = options.device.startswith("cuda")
        length = min(LENGTH, options.rows)
        config = LlamaConfig(**SHAPES[shape], max_position_embeddings=length)
        with torch.device(options.device):
            self.model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
            self.ids_BT = torch.randint(config.vocab_size, (options.rows // length, length))
            self.offsets_N = torch.rand(self.ids_BT.numel(), dtype=torch.float64)
        self.head = OutputHead.of(self.model)
        self.next_N = self.ids_BT.flatten().roll(-1)
        self.block = self.head.weight_VD.new_empty(
            min(HEAD_ROWS, self.ids_BT.numel()), self.head.size
        )

    @torch.inference_mode()
    def figures(self) -> dict[str, Any]:
        """Milliseconds and ratios."""
        states_ND = self._body()
        ways: dict[str, Callable[[], object]] = {"product": lambda: self._product(states_ND)}
        reductions = {name: Reduction(self.head, policy) for name, policy in POLICIES.items()}
        for name, reduction in reductions.items():
            ways[name] = self._capture(reduction, states_ND, POLICIES[name])
        ways["prefill"] = lambda: self._product(self._body())
        ways["dump"] = lambda: self._dump(reductions["default"])
        times = self._interleaved(ways)
        shares = {name: round(times[name] / times["product"], 4) for name in POLICIES}
        return {
            "milliseconds": {name: round(1e3 * seconds, 3) for name, seconds in times.items()},
            "product_tflops": round(self._flops() / times["product"] / 1e12, 1),
            "capture_over_product": shares,
            "prefill_over_dump": round(times["prefill"] / times["dump"], 4),
            "peak_gib": self._peak(),
        }

    def _body(self) -> torch.Tensor:
        return body_states(self.model, self.ids_BT).flatten(0, 1)

    def _product(self, states_ND: torch.Tensor) -> None:
        for part in states_ND.split(len(self.block)):
            self.head.logits(part, self.block[: len(part)])

    def _capture(
        self, reduction: Reduction, states_ND: torch.Tensor, policy: Capture
    ) -> Callable[[], object]:
        return lambda: gather_signals(
            reduction(states_ND, self.next_N, self.offsets_N), policy.temperatures
        )

    def _dump(self, reduction: Reduction) -> None:
        self._capture(reduction, self._body(), Capture())()

    def _interleaved(self, ways: dict[str, Callable[[], object]]) -> dict[str, float]:
        """Median seconds of each; the first round warms up and does not count."""
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(self.options.repeats + 1):
            for name, way in ways.items():
                spent[name].append(self._seconds(way))
        return {name: statistics.median(seconds[1:]) for name, seconds in spent.items()}

    def _seconds(self, way: Callable[[], object]) -> float:
        self._synchronize()
        start = time.perf_counter()
        way()
        self._synchronize()
        return time.perf_counter() - start

    def _synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def _flops(self) -> float:
        return 2.0 * self.ids_BT.numel() * float(np.prod(self.head.weight_VD.shape))

    def _peak(self) -> float | None:
        return round(torch.cuda.max_memory_allocated() / 2**30, 2) if self.cuda else None


def _print(shape: str, figures: dict[str, Any]) -> None:
    shares = "  ".join(f"{name} {share}" for name, share in figures["capture_over_product"].items())
    print(f"{shape}: product {figures['product_tflops']} TFLOP/s; capture / product: {shares}")
    print(f"{shape}: prefill / dump {figures['prefill_over_dump']}", flush=True)


if __name__ == "__main__":
    main()
