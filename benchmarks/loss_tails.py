"""Which treatment of the tail serves which loss: its gradient beside the exact one.

Per loss and tail, on real text, the gradient of the head's weight is compared with that of the same
loss over the whole vocabulary, for two students carved out of the teacher: `near` (26 of 30 layers)
and `drop` (6 of 30, far). Several samples of the tail tell the bias from the noise:

    bias  = |E ĝ − g| / |g|,   noise = √(E |ĝ − E ĝ|²) / |g|   over N positions

Bias stays whatever the batch; noise falls with its square root. Run as

    python -m benchmarks.loss_tails --teacher FOLDER --gsm8k gsm8k_train.jsonl

Ranks estimators by what they say in one step, not by the student that many steps make.
"""

import argparse
import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # halves the time of big temporaries

import numpy as np
import torch

from benchmarks.machine import write_result
from benchmarks.quality_training import RECIPES
from benchmarks.quality_windows import make_windows
from stage2_student.distillation import distillation_loss
from stage2_student.losses import LOSSES
from stage2_student.objective import Objective, Term
from stage2_student.outcomes import Tail
from stage2_student.targets import Targets

MIN_PROBABILITY, MOST, DRAWS = 1 / 512, 64, 64
"""The default policy of a dump."""
BATCH = 8192
"""Positions that the noise is extrapolated to."""


def main() -> None:
    """Measures, writes results/loss_tails.json and prints the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    teacher_NV, students, weight = _models(options)
    samples = [sparse(teacher_NV, seed) for seed in range(options.samples)]
    whole = everything(teacher_NV)
    found = {}
    for name, hidden_ND in students.items():
        for loss in (name for name in LOSSES if LOSSES[name].soft):
            exact = gradient(hidden_ND, weight, whole, loss, "none")
            for tail in get_args(Tail):
                used = samples if tail == "sample" else samples[:1]
                estimates = (gradient(hidden_ND, weight, s, loss, tail) for s in used)
                found[f"{name}/{loss}/{tail}"] = errors(exact, estimates, len(hidden_ND))
                print(f"{name}/{loss}/{tail}", found[f"{name}/{loss}/{tail}"], flush=True)
    setting = {"positions": len(teacher_NV), "samples": options.samples, "batch": BATCH}
    write_result("loss_tails", {"setting": setting, "errors": found})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, type=Path, help="SmolLM2-135M-Instruct folder")
    parser.add_argument("--gsm8k", required=True, type=Path, help="GSM8K training set, JSON lines")
    parser.add_argument("--positions", type=int, default=512)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


@torch.no_grad()
def _models(
    options: argparse.Namespace,
) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    """The teacher's logits [N, V], each student's hidden states [N, D], and the head they share."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    windows = make_windows(AutoTokenizer.from_pretrained(options.teacher), options.gsm8k).held_out
    ids = torch.from_numpy(windows[::6].astype(np.int64))
    chosen = torch.randperm(ids.numel(), generator=torch.Generator().manual_seed(0))
    chosen = chosen[: options.positions]
    model = AutoModelForCausalLM.from_pretrained(options.teacher, dtype=torch.float32).eval()
    weight = model.lm_head.weight.detach()
    teacher_NV = _states(model, ids)[chosen] @ weight.t()
    students = {name: _states(_carved(model, name), ids)[chosen] for name in RECIPES}
    return teacher_NV, students, weight


def _carved(model: Any, name: str) -> Any:
    student = copy.deepcopy(model)
    student.model.layers = torch.nn.ModuleList(
        student.model.layers[i] for i in RECIPES[name].layers
    )
    student.config.num_hidden_layers = len(student.model.layers)
    return student


def _states(model: Any, ids: torch.Tensor) -> torch.Tensor:
    parts = [model.model(part, use_cache=False).last_hidden_state for part in ids.split(4)]
    return torch.cat(parts).flatten(0, 1)


def sparse(logits_NV: torch.Tensor, seed: int) -> Targets:
    """What a dump of the default policy holds, unrounded."""
    gaps_NV = logits_NV - logits_NV.amax(dim=1, keepdim=True)
    p_NV = gaps_NV.softmax(dim=1)
    top_NK, ids_NK = p_NV.topk(MOST, dim=1)
    kept_NK = (top_NK >= MIN_PROBABILITY) | (torch.arange(MOST) == 0)
    logits_NK = gaps_NV.gather(1, ids_NK).masked_fill(~kept_NK, -torch.inf)
    tail_NV = p_NV.clone()
    for row, (ids, kept) in enumerate(zip(ids_NK, kept_NK, strict=True)):
        tail_NV[row, ids[kept]] = 0
    offsets = np.random.default_rng(seed).random(len(p_NV))
    drawn = [_draws(p_V, u) for p_V, u in zip(tail_NV, offsets, strict=True)]
    tail_ids_NS = torch.nn.utils.rnn.pad_sequence(drawn, batch_first=True)
    absent_NS = torch.arange(tail_ids_NS.shape[1]) >= torch.tensor([len(d) for d in drawn])[:, None]
    return _targets(
        ids_NK=ids_NK.masked_fill(~kept_NK, 0),
        logits_NK=logits_NK,
        tail_logmass_N={1.0: tail_NV.double().sum(dim=1).clamp(min=1e-9).log().float()},
        tail_ids_NS=tail_ids_NS,
        tail_logits_NS=gaps_NV.gather(1, tail_ids_NS).masked_fill(absent_NS, -torch.inf),
        draws_per_unit=DRAWS,
    )


def _draws(tail_V: torch.Tensor, offset: float) -> torch.Tensor:
    cumulative = tail_V.double().cumsum(0)
    points = (offset + torch.arange(DRAWS + 1, dtype=torch.float64)) / DRAWS
    return torch.searchsorted(cumulative, points[points < cumulative[-1]], right=True)


def everything(logits_NV: torch.Tensor) -> Targets:
    """Every entry kept."""
    rows = len(logits_NV)
    return _targets(
        ids_NK=torch.arange(logits_NV.shape[1]).expand(logits_NV.shape),
        logits_NK=logits_NV - logits_NV.amax(dim=1, keepdim=True),
        tail_logmass_N={1.0: torch.full((rows,), float(np.log(1e-9)))},
        tail_ids_NS=torch.zeros(rows, 0, dtype=torch.int64),
        tail_logits_NS=torch.zeros(rows, 0),
        draws_per_unit=0,
    )


def _targets(**given: Any) -> Targets:
    rows = len(given["ids_NK"])
    return Targets(
        rows_N=torch.arange(rows),
        labels_N=torch.zeros(rows, dtype=torch.int64),
        token_logprobs_N=torch.zeros(rows),
        weights_N=torch.ones(rows),
        **given,
    )


def gradient(
    hidden_ND: torch.Tensor, weight_VD: torch.Tensor, targets: Targets, loss: str, tail: Tail
) -> torch.Tensor:
    """[V, D] of the mean loss by the head's weight."""
    leaf = weight_VD.clone().requires_grad_()
    objective = Objective(terms=(Term(loss=loss, tail=tail),))
    total = distillation_loss(hidden_ND, leaf, targets, objective).total / len(hidden_ND)
    return torch.autograd.grad(total, leaf)[0]


def errors(
    exact: torch.Tensor, estimates: Iterator[torch.Tensor], positions: int
) -> dict[str, float]:
    """Bias and noise beside the exact gradient's size, and both together at BATCH positions."""
    mean, squares, count = torch.zeros_like(exact), 0.0, 0
    for estimate in estimates:
        difference = estimate - exact
        mean += difference
        squares += float(difference.square().sum())
        count += 1
    of_mean = float((mean / count).square().sum())
    noise = max(0.0, squares / count - of_mean) * count / max(1, count - 1)
    bias = max(0.0, of_mean - noise / count)
    size = float(exact.square().sum())
    together = bias + noise * positions / BATCH
    parts = {"bias": bias, "noise": noise, "together": together}
    return {name: round((value / size) ** 0.5, 4) for name, value in parts.items()}


if __name__ == "__main__":
    main()
