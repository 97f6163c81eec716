"""How good a student gets from a dump, beside one trained online and one without a teacher.

Share kept = (KL of cross-entropy − KL of the arm) / (KL of cross-entropy − KL of online), KL being
KL(teacher ‖ student) over the whole vocabulary on held-out windows. Run as

    python -m benchmarks.quality --teacher FOLDER --gsm8k gsm8k_train.jsonl

Finished arms are kept in the result file and not repeated, so it may be interrupted. About three
CPU-minutes an arm; `--arms` and `--students` choose. An arm may be any loss that `potstill train`
takes, without commas of its own, and behind an @ what the dump keeps (`quality_dump.POLICIES`):
`--arms "skew_rkl,jsd(beta=0.1),0.5*fkl + 0.5*skew_fkl,fkl(tail=bucket)@top64"`. The arm
`online-0.6` trains online for .6 of the steps: equal compute, if a cached step costs that share.
"""

import argparse
import copy
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # halves the time of big temporaries

import numpy as np
import torch

from benchmarks.machine import write_result
from benchmarks.quality_dump import POLICIES, cached_loss, dump_windows, read_targets
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
    written = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    results, sizes = written.get("arms", {}), written.get("bytes_per_token", {})
    todo = [key for key in _keys(options) if key not in results]
    if todo:
        bench = Bench(options)
        for key in todo:
            results[key] = bench.run(*key.split("/"))
            sizes |= bench.bytes_per_token
            write_result("quality", {"arms": results, "bytes_per_token": sizes, **_shares(results)})
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
        self.bytes_per_token: dict[str, float] = {}
        self._targets: dict[str, list[Targets]] = {}

    def run(self, student: str, arm: str, seed: str) -> dict[str, float]:
        """Trains and measures one arm."""
        recipe = _shortened(RECIPES[student], arm)
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
        if arm.startswith("online"):
            return dense_forward_kl(self.teacher, self.windows.train)
        loss, _, policy = arm.partition("@")
        return cached_loss(
            self._read(policy or "default"), OBJECTIVES.get(loss) or make_objective(loss)
        )

    def _read(self, policy: str) -> list[Targets]:
        if policy not in self._targets:
            longest = max(ROWS * recipe.steps for recipe in RECIPES.values())
            windows = self.windows.train[:longest]
            folder = Path(self.folder.name) / policy
            vocabulary = len(self.teacher.lm_head.weight)
            dump = dump_windows(folder, self.options.teacher, windows, vocabulary, POLICIES[policy])
            size = sum(shard.bytes for shard in dump.manifest.shards)
            self.bytes_per_token[policy] = round(size / windows.size, 1)
            self._targets[policy] = read_targets(dump)
        return self._targets[policy]


def _shortened(recipe: Recipe, arm: str) -> Recipe:
    """The recipe of an arm that trains for a share of the steps only, as `online-0.6` says."""
    name, _, share = arm.partition("-")
    return (
        replace(recipe, steps=round(recipe.steps * float(share)))
        if name == "online" and share
        else recipe
    )


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
