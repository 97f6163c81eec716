"""One arm of the quality benchmark: the same student, data, order and tokens; another loss.

The loop is written out, not the product's Trainer, because the online arm has no dump to read; what
the other arms share with the product is what is measured: the stored dump, its reader's targets and
the fused head.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.quality_windows import WINDOW

ROWS = 4
WARMUP = 5
LossOf = Callable[[torch.Tensor, torch.Tensor, np.ndarray], torch.Tensor]
"""(hidden [rows·WINDOW, D], head weight [V, D], window indices) → mean loss over positions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A student and how long it trains: kept layers of the teacher, steps, peak learning rate."""

    layers: tuple[int, ...]
    steps: int
    learning_rate: float


RECIPES = {
    "drop": Recipe(layers=(0, 6, 12, 17, 23, 29), steps=100, learning_rate=1e-3),
    "near": Recipe(
        layers=tuple(i for i in range(30) if i not in (8, 13, 18, 23)),
        steps=40,
        learning_rate=3e-4,
    ),
}


def train_arm(
    student: torch.nn.Module, recipe: Recipe, windows: np.ndarray, loss_of: LossOf, seed: int
) -> float:
    """Trains `student` in place over the first ROWS·steps windows, once; returns CPU seconds."""
    order = np.random.default_rng(seed).permutation(ROWS * recipe.steps)
    optimizer = _optimizer(student, recipe)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe.steps))
    started = time.process_time()
    student.train()
    for step in range(recipe.steps):
        chosen = order[ROWS * step : ROWS * (step + 1)]
        with torch.autocast("cpu", torch.bfloat16):
            ids = torch.from_numpy(windows[chosen].astype(np.int64))
            hidden = student.model(ids, use_cache=False).last_hidden_state.flatten(0, 1)
            loss = loss_of(hidden, student.lm_head.weight, chosen)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
    return time.process_time() - started


def _optimizer(student: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    matrices = [p for p in student.parameters() if p.ndim > 1]
    vectors = [p for p in student.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95))


def _rate(step: int, steps: int) -> float:
    if step < WARMUP:
        return (step + 1) / WARMUP
    progress = (step - WARMUP) / max(1, steps - WARMUP)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * progress))


def dense_forward_kl(teacher: torch.nn.Module, windows: np.ndarray) -> LossOf:
    """The online arm: exact KL(teacher ‖ student), the teacher run at every step."""

    def loss_of(hidden: torch.Tensor, weight: torch.Tensor, chosen: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            ids = torch.from_numpy(windows[chosen].astype(np.int64))
            states = teacher.model(ids, use_cache=False).last_hidden_state.flatten(0, 1)
        total = hidden.new_zeros((), dtype=torch.float32)
        for window in range(len(chosen)):
            rows = slice(window * WINDOW, (window + 1) * WINDOW - 1)
            with torch.no_grad():
                logp = torch.nn.functional.linear(states[rows], teacher.lm_head.weight)
                logp = logp.float().log_softmax(-1)
            logq = torch.nn.functional.linear(hidden[rows], weight).float().log_softmax(-1)
            total = total + torch.nn.functional.kl_div(logq, logp, log_target=True, reduction="sum")
        return total / (len(chosen) * (WINDOW - 1))

    return loss_of


@torch.no_grad()
def held_out_kl(
    teacher: torch.nn.Module, student: torch.nn.Module, windows: np.ndarray
) -> dict[str, float]:
    """Exact KL(teacher ‖ student) and the student's cross-entropy on the held-out windows."""
    student.eval()
    divergence = entropy = agree = 0.0
    for window in windows:
        ids = torch.from_numpy(window.astype(np.int64))[None]
        logp = _logprobs(teacher, ids)
        logq = _logprobs(student, ids)
        divergence += float((logp.exp() * (logp - logq)).sum())
        entropy -= float(logq.gather(1, ids[0, 1:, None]).sum())
        agree += float((logp.argmax(-1) == logq.argmax(-1)).sum())
    positions = len(windows) * (WINDOW - 1)
    return {
        "kl": divergence / positions,
        "cross_entropy": entropy / positions,
        "top1_agreement": agree / positions,
    }


def _logprobs(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        states = model.model(ids, use_cache=False).last_hidden_state[0, :-1]
        logits = torch.nn.functional.linear(states, model.lm_head.weight)
    return logits.float().log_softmax(-1)
