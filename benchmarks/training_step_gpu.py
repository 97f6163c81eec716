"""The fused head on an accelerator, beside bare products and other programs: time and memory.

Everything is forward and backward to hidden states and weight, in bfloat16, on one head. In turns:

    three products  hidden × weightᵀ, and the two products of the gradient, 4096 rows at a time: the
                    floor for a head that is trained; `two products` is that for a frozen head
    ours            cross-entropy, forward KL with the sampled tail, the same with a frozen head
    others          torch's linear_cross_entropy, transformers' way (full logits), dense forward KL,
                    Liger's and cut cross-entropy's kernels where they are installed

Aims: ours / three products ≤ 1.15 and frozen / two products ≤ 1.10; forward KL / our cross-entropy
≤ 1.03; memory above the inputs and their gradients no more than a few blocks of logits. Run as

    python -m benchmarks.training_step_gpu [--shapes 4096x128256,4096x151936] [--rows 8192,16384]

`--shapes 64x3000 --rows 256 --device cpu` only proves that the script works.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.machine import write_result
from benchmarks.training_step_arms import make_targets
from benchmarks.training_step_peers import HeadLoss, cut_ce, liger_ce, runnable
from stage2_student.distillation import distillation_loss
from stage2_student.objective import make_objective

SHAPES = "4096x128256,4096x151936"
ROWS = "8192,16384"
BLOCK = 4096
FROZEN = "fkl, head frozen"
Arm = Callable[[], None]


def main() -> None:
    """Measures every shape and number of rows, prints, writes results/training_step_gpu.json."""
    options = _options()
    results = {}
    for shape in options.shapes.split(","):
        width, vocabulary = (int(size) for size in shape.split("x"))
        for rows in (int(number) for number in options.rows.split(",")):
            name = f"{rows} x {width} x {vocabulary}"
            results[name] = Bench(options, rows, width, vocabulary).figures()
            _print(name, results[name])
    if options.device == "cpu":
        print("not written: these figures are about accelerators")
        return
    written = write_result("training_step_gpu", {"settings": vars(options), "shapes": results})
    print("written:", written)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default=SHAPES, help="width x vocabulary, comma separated")
    parser.add_argument("--rows", default=ROWS, help="positions of a step, comma separated")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    return parser.parse_args()


class Bench:
    """One head, the losses on it, and what is timed."""

    def __init__(self, options: argparse.Namespace, rows: int, width: int, vocabulary: int) -> None:
        torch.manual_seed(0)
        self.options, self.device = options, torch.device(options.device)
        self.cuda = self.device.type == "cuda"
        like = {"device": self.device, "dtype": torch.bfloat16}
        self.states = torch.randn(rows, width, **like, requires_grad=True)
        self.weight = (torch.randn(vocabulary, width, **like) / width**0.5).requires_grad_()
        self.targets = make_targets(64, vocabulary, rows).to(self.device)

    def figures(self) -> dict[str, Any]:
        """Milliseconds, ratios and GiB."""
        ways, failed = self._ways()
        times = self._interleaved(ways)
        floor = {"product": times["three products"], "frozen": times["two products"]}
        return {
            "milliseconds": {name: round(1e3 * seconds, 3) for name, seconds in times.items()},
            "three_products_tflops": round(self._flops() / floor["product"] / 1e12, 1),
            "over three products": {n: round(t / floor["product"], 3) for n, t in times.items()},
            "frozen over two products": round(times[FROZEN] / floor["frozen"], 3),
            "fkl over our ce": round(times["fkl"] / times["ce"], 3),
            "extra_gib": {name: self._extra_gib(way) for name, way in ways.items()},
            "cannot run here": failed,
        }

    def _ways(self) -> tuple[dict[str, Arm], dict[str, str]]:
        ours = {name: self._ours(name) for name in ("ce", "fkl")}
        labels_N = self.targets.labels_N
        theirs: dict[str, Callable[[], HeadLoss]] = {
            "torch linear_cross_entropy": lambda: (
                lambda h, w: torch.nn.functional.linear_cross_entropy(h, w, labels_N)
            ),
            "full logits ce": lambda: (
                lambda h, w: torch.nn.functional.cross_entropy(
                    torch.nn.functional.linear(h, w).float(), labels_N
                )
            ),
            "dense fkl": self._dense_fkl,
            "liger ce": lambda: liger_ce(self.targets),
            "cut cross-entropy": lambda: cut_ce(self.targets),
        }
        running, failed = runnable(theirs, self.states, self.weight)
        arms = {name: self._arm(loss) for name, loss in {**ours, **running}.items()}
        arms[FROZEN] = self._arm(ours["fkl"], self.weight.detach())
        arms["three products"] = lambda: self._products(weight_too=True)
        arms["two products"] = lambda: self._products(weight_too=False)
        return arms, failed

    def _ours(self, name: str) -> HeadLoss:
        objective, targets = make_objective(name), self.targets
        return lambda h, w: distillation_loss(h, w, targets, objective).total / len(h)

    def _dense_fkl(self) -> HeadLoss:
        shape = (len(self.states), len(self.weight))
        logp = torch.randn(shape, device=self.device, dtype=torch.bfloat16).log_softmax(-1)

        def loss(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            logq = torch.nn.functional.linear(hidden, weight).log_softmax(-1)
            return torch.nn.functional.kl_div(logq, logp, log_target=True, reduction="batchmean")

        return loss

    def _arm(self, loss: HeadLoss, weight: torch.Tensor | None = None) -> Arm:
        def run() -> None:
            loss(self.states, self.weight if weight is None else weight).backward()
            self.states.grad = self.weight.grad = None

        return run

    @torch.no_grad()
    def _products(self, weight_too: bool) -> None:
        """The bare products; the weight's gradient is summed inside the product."""
        states, weight = self.states, self.weight
        of_states = torch.empty_like(states)
        of_weight = torch.empty_like(weight) if weight_too else None
        for start in range(0, len(states), BLOCK):
            part = states[start : start + BLOCK]
            logits = part @ weight.t()
            torch.mm(logits, weight, out=of_states[start : start + BLOCK])
            if of_weight is not None:
                of_weight.addmm_(logits.t(), part, beta=1 if start else 0)

    def _interleaved(self, ways: dict[str, Arm]) -> dict[str, float]:
        """Median seconds of each; the first round warms up and does not count."""
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(self.options.repeats + 1):
            for name, way in ways.items():
                spent[name].append(self._seconds(way))
        return {name: statistics.median(seconds[1:]) for name, seconds in spent.items()}

    def _seconds(self, way: Arm) -> float:
        self._synchronize()
        started = time.perf_counter()
        way()
        self._synchronize()
        return time.perf_counter() - started

    def _extra_gib(self, way: Arm) -> float | None:
        """The peak above what was there before, gradients of the inputs included."""
        if not self.cuda:
            return None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        way()
        return round((torch.cuda.max_memory_allocated() - before) / 2**30, 3)

    def _synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def _flops(self) -> float:
        return 6.0 * len(self.states) * self.weight.numel()


def _print(name: str, figures: dict[str, Any]) -> None:
    print(f"{name}: three products at {figures['three_products_tflops']} TFLOP/s")
    for arm, ratio in figures["over three products"].items():
        extra = figures["extra_gib"][arm]
        print(f"  {arm:<28}{ratio:>8.3f}{'' if extra is None else f'{extra:>9.2f} GiB'}")
    print(f"  frozen over two products {figures['frozen over two products']:.3f}")
    print(f"  fkl over our ce {figures['fkl over our ce']:.3f}", flush=True)
    for arm, reason in figures["cannot run here"].items():
        print(f"  cannot run here: {arm}: {reason}")


if __name__ == "__main__":
    main()
