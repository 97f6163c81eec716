"""What a loss may see of both models, at n positions and one temperature.

Shapes: N positions, K kept entries (padded), S tail draws (padded). `logp` is the teacher's
log-probability at the temperature, `logq` the student's.
"""

from dataclasses import dataclass

import torch

from stage2_student.targets import Targets

_NEAREST_TO_ZERO = -(2.0**-24)
"""A log tail mass of exactly 0 would leave no probability to the kept entries."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TeacherSignals:
    """The teacher at N positions, at one temperature.

    Attributes:
        logp_NK: log-probabilities of the kept entries; −inf where padded.
        logp_tail_N: log of the mass on everything else.
        logp_NS: log-probabilities of the tail draws; −inf where padded.
        draw_weights_NS: 1 / (S · p(draw) at temperature 1), 0 where padded: with these weights a
            sum over the draws has the sum over the tail as its expectation.
        logp_label_N: log-probability of the realised token, always at temperature 1.
    """

    logp_NK: torch.Tensor
    logp_tail_N: torch.Tensor
    logp_NS: torch.Tensor
    draw_weights_NS: torch.Tensor
    logp_label_N: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudentSignals:
    """The student at N positions, at one temperature; in training these are autograd's leaves.

    Attributes:
        logq_NK: log-probabilities at the teacher's kept entries; any finite number where padded.
        logq_NS: log-probabilities at the tail draws; any finite number where padded.
        logq_tail_N: log of the mass on everything that is not kept; None unless it was asked for.
        logq_label_N: log-probability of the realised token.
        lse_N: log-sum-exp of the logits / temperature; raw logit = temperature · (logq + lse).
        logq_mean_N: mean of log q over the vocabulary; None unless it was asked for.
    """

    logq_NK: torch.Tensor
    logq_NS: torch.Tensor
    logq_tail_N: torch.Tensor | None
    logq_label_N: torch.Tensor
    lse_N: torch.Tensor
    logq_mean_N: torch.Tensor | None = None


def teacher_signals(
    targets: Targets, temperature: float, dtype: torch.dtype = torch.float32
) -> TeacherSignals:
    """The teacher's side of a loss: log p = logit/T − logsumexp(kept/T) + log(1 − tail mass).

    Raises:
        KeyError: the dump holds no tail mass at this temperature (`check_objective` says so to
            users beforehand).
    """
    log_z_N = _log_normaliser(targets, temperature, dtype)
    logp_NS = targets.tail_logits_NS.to(dtype) / temperature - log_z_N[:, None]
    return TeacherSignals(
        logp_NK=targets.logits_NK.to(dtype) / temperature - log_z_N[:, None],
        logp_tail_N=targets.tail_logmass_N[temperature].to(dtype),
        logp_NS=logp_NS,
        draw_weights_NS=_draw_weights(targets, dtype),
        logp_label_N=targets.token_logprobs_N.to(dtype),
    )


def _log_normaliser(targets: Targets, temperature: float, dtype: torch.dtype) -> torch.Tensor:
    """Log Z: what to subtract from logit / T; −expm1 keeps its precision at a tail mass near 1."""
    logmass_N = targets.tail_logmass_N[temperature].to(dtype).clamp(max=_NEAREST_TO_ZERO)
    kept_N = torch.logsumexp(targets.logits_NK.to(dtype) / temperature, dim=1)
    return kept_N - torch.log(-torch.expm1(logmass_N))


def _draw_weights(targets: Targets, dtype: torch.dtype) -> torch.Tensor:
    logits_NS = targets.tail_logits_NS.to(dtype)
    if logits_NS.shape[1] == 0:
        return logits_NS
    logp_NS = logits_NS - _log_normaliser(targets, 1.0, dtype)[:, None]
    padded_NS = torch.isneginf(logits_NS)
    weights_NS = torch.exp(-logp_NS.masked_fill(padded_NS, 0)) / targets.draws_per_unit
    return weights_NS.masked_fill(padded_NS, 0)
