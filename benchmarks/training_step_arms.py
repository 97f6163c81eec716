"""The arms of the training-step benchmark: losses on a head, alone and in a whole step."""

import argparse
import contextlib
from collections.abc import Callable
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.training_step_peers import HeadLoss, peers
from stage2_student.distillation import distillation_loss
from stage2_student.losses import LOSSES
from stage2_student.objective import make_objective
from stage2_student.targets import Targets

ROWS, LENGTH, WIDTH = 4, 512, 576
POSITIONS = ROWS * (LENGTH - 1)
DRAWS = 32
OBJECTIVES = {
    "fused ce": make_objective("ce"),
    "fkl sample": make_objective("fkl"),
    "fkl bucket": make_objective("fkl", tail="bucket"),
    "0.9 fkl(T=2) + 0.1 ce": make_objective("fkl", 2.0, 0.1),
}
EVERY_LOSS = {
    **{name: make_objective(name) for name in LOSSES},
    **{
        f"{name}, tail sample": make_objective(name, tail="sample")
        for name, loss in LOSSES.items()
        if loss.tail == "bucket"
    },
    "ce, smoothed": make_objective("ce(smoothing=0.1)"),
}
"""Each with the tail that serves it best, and those of another one through the sample too."""
NAMES = [
    "transformers ce",
    "torch linear ce",
    *OBJECTIVES,
    "fkl sample k=8",
    "fkl sample k=256",
    "dense fkl",
]
Arm = Callable[[], None]


def _student(vocabulary: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


def make_targets(kept: int, vocabulary: int, positions: int = POSITIONS) -> Targets:
    """Random targets: per row `kept` different ids with a Zipf-like teacher and a tail sample."""
    generator = torch.Generator().manual_seed(1)
    first = torch.randint(vocabulary, (positions, 1), generator=generator)
    ids_NK = (first + 191 * torch.arange(kept)) % vocabulary
    logits_NK = -2 * torch.log(torch.arange(1.0, kept + 1)).expand(positions, kept)
    draws = torch.randint(0, DRAWS // 2, (positions, 1), generator=generator)
    absent_NS = torch.arange(DRAWS) >= draws
    mass_N = torch.full((positions,), -2.5)
    return Targets(
        rows_N=torch.arange(positions),
        ids_NK=ids_NK,
        logits_NK=logits_NK.contiguous(),
        tail_logmass_N={1.0: mass_N, 2.0: mass_N / 2},
        tail_ids_NS=(first - 7 * torch.arange(1, DRAWS + 1)) % vocabulary,
        tail_logits_NS=torch.full((positions, DRAWS), -9.0).masked_fill(absent_NS, -torch.inf),
        draws_per_unit=64,
        labels_N=torch.randint(vocabulary, (positions,), generator=generator),
        token_logprobs_N=torch.full((positions,), -3.0),
        weights_N=torch.ones(positions),
    )


def peer_losses(options: argparse.Namespace) -> dict[str, Callable[[], HeadLoss]]:
    """Other programs' losses, as far as their checkouts are given."""
    checkouts = {"distillkit": options.distillkit, "axolotl": options.axolotl}
    return peers(make_targets(64, options.vocabulary), options.vocabulary, WIDTH, checkouts)


def _head_loss(arm: str, options: argparse.Namespace) -> HeadLoss:
    """(hidden [POSITIONS, D], weight [V, D]) → mean loss, for every arm but transformers' own."""
    others = peer_losses(options)
    if arm in others:
        return others[arm]()
    name, _, kept = arm.partition(" k=")
    targets = make_targets(int(kept or 64), options.vocabulary)
    objective = {**OBJECTIVES, **EVERY_LOSS}.get(name)
    if objective is not None:
        return lambda h, w: distillation_loss(h, w, targets, objective).total / POSITIONS
    if name == "torch linear ce":
        return lambda h, w: torch.nn.functional.linear_cross_entropy(h, w, targets.labels_N)
    if name == "dense fkl":
        return _dense_fkl(options.vocabulary)
    return lambda h, w: torch.nn.functional.cross_entropy(
        torch.nn.functional.linear(h, w).float(), targets.labels_N
    )


def _dense_fkl(vocabulary: int) -> HeadLoss:
    """Against a dense teacher whose probabilities are already there: no teacher's forward in it."""
    logp = torch.randn(POSITIONS, vocabulary).log_softmax(-1)

    def loss(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        logq = torch.nn.functional.linear(hidden, weight).float().log_softmax(-1)
        return torch.nn.functional.kl_div(logq, logp, log_target=True, reduction="batchmean")

    return loss


def _autocast(options: argparse.Namespace) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16, enabled=options.dtype == "bfloat16")


def loss_arms(names: list[str], options: argparse.Namespace) -> dict[str, Arm]:
    """The loss alone: forward and backward to hidden states and weight."""
    hidden = torch.randn(POSITIONS, WIDTH, requires_grad=True)
    weight = (torch.randn(options.vocabulary, WIDTH) / WIDTH**0.5).requires_grad_()

    def arm(name: str) -> Arm:
        loss_of = _head_loss(name, options)

        def run() -> None:
            with _autocast(options):
                loss = loss_of(hidden, weight)
            loss.backward()
            hidden.grad = weight.grad = None

        return run

    return {name: arm(name) for name in names}


def step_arms(names: list[str], options: argparse.Namespace) -> dict[str, Arm]:
    """A whole optimizer step of one student that the arms share."""
    student = _student(options.vocabulary)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5, fused=True)  # as Trainer does
    ids = torch.randint(options.vocabulary, (ROWS, LENGTH))

    def loss_of(name: str) -> Callable[[], torch.Tensor]:
        if name == "transformers ce":
            return lambda: student(input_ids=ids, labels=ids, use_cache=False).loss
        head_loss = _head_loss(name, options)

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
