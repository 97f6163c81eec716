"""A student's loss against a dump's targets, and what the student says at them, through the head.

This is what trainer and evaluation call. Both take hidden rows and head weight, never logits.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from stage2_student.fused_head import (
    BlockLoss,
    HeadCall,
    HeadOptions,
    block_softmaxes,
    blocks_of,
    fused_loss,
    make_products,
)
from stage2_student.fused_products import HeadProducts
from stage2_student.fused_softmax import Sums
from stage2_student.objective import Objective
from stage2_student.signals import StudentSignals, teacher_signals
from stage2_student.targets import Targets


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadLoss:
    """Sums over the positions of one call, each position times its weight.

    Attributes:
        total: what to minimise, T² and the terms' weights in it; differentiable.
        terms: per term its plain sum in nats (no T², no term's weight), detached, for logs.
        weight_sum: the positions' weights, detached; dividing by it (over all calls and ranks of a
            step) makes means.
    """

    total: torch.Tensor
    terms: dict[str, torch.Tensor]
    weight_sum: torch.Tensor


def distillation_loss(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    targets: Targets,
    objective: Objective,
    *,
    bias_V: torch.Tensor | None = None,
    options: HeadOptions | None = None,
) -> HeadLoss:
    """The weighted loss of N positions, differentiable by hidden states, weight and bias.

    Works under autocast, with any of the three frozen, under `torch.no_grad` (then only forward),
    and any number of times in a step. First derivatives only.

    Args:
        hidden_ND: the student's hidden states that go into its head, at `targets.rows_N` of the
            flattened batch, in that order.
        weight_VD: the head's weight.
        targets: what the teacher said there.
        objective: what to minimise.
        bias_V: the head's bias, where it has one.
        options: logit transform, width of the teacher's head, rows per block.

    Raises:
        ValueError: as many hidden rows as targets are not given.
    """
    call = HeadCall(targets=targets, sums=objective.sums, options=options or HeadOptions())
    _check_rows(hidden_ND, targets)
    total, sums = fused_loss(hidden_ND, weight_VD, bias_V, call, _block_loss(objective))
    labels = objective.labels[: len(objective.terms)]
    return HeadLoss(
        total=total,
        terms=dict(zip(labels, sums.unbind(), strict=True)),
        weight_sum=targets.weights_N.sum(),
    )


def _check_rows(hidden_ND: torch.Tensor, targets: Targets) -> None:
    if hidden_ND.dim() != 2 or len(hidden_ND) != len(targets.labels_N):
        raise ValueError(
            f"hidden states of shape {tuple(hidden_ND.shape)} for {len(targets.labels_N)} target "
            "positions: select `targets.rows_N` of the flattened batch first."
        )


def _block_loss(objective: Objective) -> BlockLoss:
    def loss(
        block: Targets, students: Mapping[float, StudentSignals]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        teachers = {t: teacher_signals(block, t, s.lse_N.dtype) for t, s in students.items()}
        sums = []
        for term in objective.terms:
            loss_N = term.compute(teachers[term.temperature], students[term.temperature])
            sums.append((loss_N * block.weights_N).sum())
        stacked_L = torch.stack(sums)
        factors_L = stacked_L.new_tensor([term.factor for term in objective.terms])
        return (stacked_L * factors_L).sum(), stacked_L

    return loss


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadReading:
    """What a student says at N positions, position by position.

    Attributes:
        signals: per temperature its log-probabilities at the teacher's entries, its tail mass
            (always there) and the realised token's.
        best_ids_N: its most probable token.
        best_logprobs_N: that token's log-probability at temperature 1.
    """

    signals: dict[float, StudentSignals]
    best_ids_N: torch.Tensor
    best_logprobs_N: torch.Tensor


@torch.no_grad()
def read_head(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    targets: Targets,
    *,
    temperatures: tuple[float, ...] = (1.0,),
    bias_V: torch.Tensor | None = None,
    options: HeadOptions | None = None,
) -> HeadReading:
    """What the losses and measures of an evaluation are computed from; no gradient.

    A loss per position: `term.compute(teacher_signals(targets, T), reading.signals[T])`.

    Args:
        hidden_ND: as in `distillation_loss`.
        weight_VD: the head's weight.
        targets: what the teacher said there.
        temperatures: the temperatures to read at; 1 is always read.
        bias_V: the head's bias, where it has one.
        options: logit transform, width of the teacher's head, rows per block.

    Raises:
        ValueError: as many hidden rows as targets are not given.
    """
    _check_rows(hidden_ND, targets)
    sums = {temperature: Sums(tail=True) for temperature in sorted({1.0, *temperatures})}
    call = HeadCall(targets=targets, sums=sums, options=options or HeadOptions())
    head = make_products(hidden_ND, weight_VD, bias_V, call.options)
    with torch.autocast(hidden_ND.device.type, enabled=False):
        rows = blocks_of(len(hidden_ND), head.block_rows)
        return _joined([_read_block(head, call, block) for block in rows])


def _read_block(head: HeadProducts, call: HeadCall, rows: slice) -> HeadReading:
    block = call.targets.block(rows)
    logits_nV = head.logits(rows)
    best_n, best_ids_n = logits_nV.max(dim=1)
    softmaxes = block_softmaxes(head, logits_nV, block, call)
    signals = {t: s.signals(differentiable=False) for t, s in softmaxes.items()}
    return HeadReading(
        signals=signals, best_ids_N=best_ids_n, best_logprobs_N=best_n - signals[1.0].lse_N
    )


def _joined(parts: list[HeadReading]) -> HeadReading:
    grid = parts[0].signals
    return HeadReading(
        signals={t: _joined_signals([part.signals[t] for part in parts]) for t in grid},
        best_ids_N=torch.cat([part.best_ids_N for part in parts]),
        best_logprobs_N=torch.cat([part.best_logprobs_N for part in parts]),
    )


def _joined_signals(parts: list[StudentSignals]) -> StudentSignals:
    tails = [part.logq_tail_N for part in parts if part.logq_tail_N is not None]
    return StudentSignals(
        logq_NK=torch.cat([part.logq_NK for part in parts]),
        logq_NS=torch.cat([part.logq_NS for part in parts]),
        logq_tail_N=torch.cat(tails),
        logq_label_N=torch.cat([part.logq_label_N for part in parts]),
        lse_N=torch.cat([part.lse_N for part in parts]),
    )
