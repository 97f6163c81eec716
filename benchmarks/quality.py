"""How good a student gets from a dump, beside one trained online and one without a teacher.

Share kept = (KL of cross-entropy − KL of the arm) / (KL of cross-entropy − KL of online), KL being
KL(teacher ‖ student) over the whole vocabulary on held-out windows. Run as

    python -m benchmarks.quality --teacher FOLDER --gsm8k gsm8k_train.jsonl

Finished arms are kept in the result file and not repeated, so it may be interrupted. About three
CPU-minutes an arm; `--arms` and `--students` choose. An arm may be any loss that `potstill train`
takes, without commas of its own: `--arms "skew_rkl,jsd(beta=0.1),0.5*fkl + 0.5*skew_fkl"`.
"""

import argparse
import copy
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # halves the time of big temporaries

import numpy as np
import torch

from benchmarks.machine import write_result
from benchmarks.quality_dump import cached_loss, dump_windows, read_targets
from benchmarks.quality_training import (
    RECIPES,
    ROWS,
    LossOf,
    Recipe,
    dense_forward_kl,
    held_out_kl,
    train_arm,
)
from benchmarks.quality_windows import make_windows
from stage2_student.objective import make_objective
from stage2_student.targets import Targets

RESULT = Path(__file__).parent / "results" / "quality.json"
OBJECTIVES = {
    "cross-entropy": make_objective("ce"),
    "default": make_objective("fkl", tail="sample"),
    "bucket": make_objective("fkl", tail="bucket"),
    "renormalise": make_objective("fkl", tail="renormalise"),
}
ARMS = ("online", *OBJECTIVES)


def main() -> None:
    """Runs the arms that are not in the result file yet, then prints the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    results = json.loads(RESULT.read_text())["arms"] if RESULT.exists() else {}
    todo = [key for key in _keys(options) if key not in results]
    if todo:
        bench = Bench(options)
        for key in todo:
            results[key] = bench.run(*key.split("/"))
            write_result("quality", {"arms": results, **_shares(results)})
            print(key, json.dumps(results[key]), flush=True)
    _print_table(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, type=Path, help="SmolLM2-135M-Instruct folder")
    parser.add_argument("--gsm8k", required=True, type=Path, help="GSM8K training set, JSON lines")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--students", default="drop,near")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _keys(options: argparse.Namespace) -> list[str]:
    return [
        f"{student}/{arm}/{seed}"
        for seed in options.seeds.split(",")
        for student in options.students.split(",")
        for arm in options.arms.split(",")
    ]


class Bench:
    """Teacher, windows and dump, made once and shared by the arms."""

    def __init__(self, options: argparse.Namespace) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(options.teacher)
        self.windows = make_windows(tokenizer, options.gsm8k)
        load = AutoModelForCausalLM.from_pretrained
        self.teacher = load(options.teacher, dtype=torch.bfloat16).eval()
        self.options = options
        self.folder = tempfile.TemporaryDirectory(prefix="potstill-quality-")
        self._targets: list[Targets] | None = None

    def run(self, student: str, arm: str, seed: str) -> dict[str, float]:
        """Trains and measures one arm."""
        recipe = RECIPES[student]
        model = self._carve(recipe)
        loss = self._loss(arm)
        seconds = train_arm(model, recipe, self.windows.train, loss, int(seed))
        figures = held_out_kl(self.teacher, model, self.windows.held_out)
        return {**figures, "cpu_seconds": round(seconds, 1)}

    def _carve(self, recipe: Recipe) -> Any:
        """An fp32 copy of the teacher with only the recipe's layers."""
        model = copy.deepcopy(self.teacher).float()
        model.model.layers = torch.nn.ModuleList(model.model.layers[i] for i in recipe.layers)
        for index, layer in enumerate(model.model.layers):
            layer.self_attn.layer_idx = index
        model.config.num_hidden_layers = len(recipe.layers)
        return model

    def _loss(self, arm: str) -> LossOf:
        if arm == "online":
            return dense_forward_kl(self.teacher, self.windows.train)
        return cached_loss(self._read(), OBJECTIVES.get(arm) or make_objective(arm))

    def _read(self) -> list[Targets]:
        if self._targets is None:
            longest = max(ROWS * recipe.steps for recipe in RECIPES.values())
            windows = self.windows.train[:longest]
            folder = Path(self.folder.name) / "dump"
            vocabulary = len(self.teacher.lm_head.weight)
            dump = dump_windows(folder, self.options.teacher, windows, vocabulary)
            self._targets = read_targets(dump)
        return self._targets


def _shares(results: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Per student and arm the share kept of every seed, and their mean."""
    shares: dict[str, Any] = {}
    for key, figures in results.items():
        student, arm, seed = key.split("/")
        ends = [results.get(f"{student}/{end}/{seed}") for end in ("cross-entropy", "online")]
        if None not in ends:
            start, goal = (end["kl"] for end in ends if end)
            share = (start - figures["kl"]) / (start - goal)
            shares.setdefault(f"{student}/{arm}", {})[seed] = round(share, 4)
    means = {key: round(float(np.mean(list(s.values()))), 4) for key, s in shares.items()}
    return {"share_kept": shares, "mean_share_kept": means}


def _print_table(results: dict[str, dict[str, float]]) -> None:
    means = _shares(results)["mean_share_kept"]
    print(f"{'student/arm/seed':<24}{'KL':>9}{'CE':>9}{'top-1':>8}{'share kept, mean':>18}")
    for key, figures in sorted(results.items()):
        share = means.get(key.rsplit("/", 1)[0], float("nan"))
        row = f"{figures['kl']:>9.4f}{figures['cross_entropy']:>9.4f}"
        print(f"{key:<24}{row}{figures['top1_agreement']:>8.3f}{share:>18.3f}")


if __name__ == "__main__":
    main()
