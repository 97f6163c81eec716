"""The outcomes that a divergence is summed over: where the tail is dealt with, once for all losses.

A divergence of the form Σ_j f(p_j, q_j) over the vocabulary becomes Σ_o w_o · f(p_o, q_o) over a
few outcomes o. The kept entries are outcomes of weight 1; the tail is

- `sample`: the tail draws, each with weight w = 1 / (S · p(draw) at temperature 1). Unbiased: the
  expectation over draws is the sum over the tail. (Systematic form of the random sampling of
  Anshumann et al. 2025, "Sparse Logit Sampling", with the head kept exactly.) A loss whose summand
  grows with q beyond all bounds of p adds what `tail_masses` knows exactly.
- `bucket`: one more outcome, "anything else", with both models' whole tail mass.
- `none`: left out; the missing mass is missing from the loss.
- `renormalise`: left out, and both models' kept entries scaled to sum to 1. Known to train badly.

Shapes: N positions, O outcomes.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from stage2_student.signals import StudentSignals, TeacherSignals

Tail = Literal["sample", "bucket", "none", "renormalise"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """Log-probabilities of both models and the weight of each outcome; 0 where padded."""

    logp_NO: torch.Tensor
    logq_NO: torch.Tensor
    weights_NO: torch.Tensor

    def sum(self, values_NO: torch.Tensor) -> torch.Tensor:
        """[N] the weighted sum over outcomes of one value per outcome."""
        return (self.weights_NO * values_NO).sum(dim=1)


def make_outcomes(teacher: TeacherSignals, student: StudentSignals, tail: Tail) -> Outcomes:
    """The outcomes of N positions under one way of treating the tail.

    Raises:
        ValueError: `bucket`, and the student's tail mass was not computed.
    """
    kept = _masked(teacher.logp_NK, student.logq_NK, torch.ones_like(teacher.logp_NK))
    if tail == "sample":
        return _joined(kept, _masked(teacher.logp_NS, student.logq_NS, teacher.draw_weights_NS))
    if tail == "bucket":
        return _joined(kept, _bucket(teacher, student))
    if tail == "renormalise":
        return _renormalised(kept)
    return kept


def _masked(logp: torch.Tensor, logq: torch.Tensor, weights: torch.Tensor) -> Outcomes:
    """Padded outcomes get log-probability 0 and weight 0, so that no 0 · −inf can arise."""
    padded = torch.isneginf(logp)
    return Outcomes(
        logp_NO=logp.masked_fill(padded, 0),
        logq_NO=logq.masked_fill(padded, 0),
        weights_NO=weights.masked_fill(padded, 0),
    )


def _bucket(teacher: TeacherSignals, student: StudentSignals) -> Outcomes:
    logp_N1 = teacher.logp_tail_N[:, None]
    return Outcomes(
        logp_NO=logp_N1,
        logq_NO=_student_tail(student)[:, None],
        weights_NO=torch.ones_like(logp_N1),
    )


def _renormalised(kept: Outcomes) -> Outcomes:
    def scaled(log_NO: torch.Tensor) -> torch.Tensor:
        present_NO = log_NO.masked_fill(kept.weights_NO == 0, -torch.inf)
        return log_NO - torch.logsumexp(present_NO, dim=1, keepdim=True)

    return Outcomes(
        logp_NO=scaled(kept.logp_NO), logq_NO=scaled(kept.logq_NO), weights_NO=kept.weights_NO
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TailMasses:
    """Both models' whole tail masses, and what the draws leave of them.

    Attributes:
        logp_N: log of the teacher's mass P.
        logq_N: log of the student's mass Q.
        p_missed_N: P − Σ w·p over the draws; its expectation is 0.
        q_missed_N: Q − Σ w·q over the draws; its expectation is 0.
    """

    logp_N: torch.Tensor
    logq_N: torch.Tensor
    p_missed_N: torch.Tensor
    q_missed_N: torch.Tensor


def tail_masses(teacher: TeacherSignals, student: StudentSignals) -> TailMasses:
    """What the tail sample can be held against, at N positions.

    Raises:
        ValueError: the student's tail mass was not computed.
    """
    logp_N, logq_N = teacher.logp_tail_N, _student_tail(student)
    drawn = _masked(teacher.logp_NS, student.logq_NS, teacher.draw_weights_NS)
    return TailMasses(
        logp_N=logp_N,
        logq_N=logq_N,
        p_missed_N=torch.exp(logp_N) - drawn.sum(torch.exp(drawn.logp_NO)),
        q_missed_N=torch.exp(logq_N) - drawn.sum(torch.exp(drawn.logq_NO)),
    )


def _student_tail(student: StudentSignals) -> torch.Tensor:
    if student.logq_tail_N is None:
        raise ValueError("this tail needs the student's tail mass: ask the head for it")
    return student.logq_tail_N


def _joined(first: Outcomes, second: Outcomes) -> Outcomes:
    return Outcomes(
        logp_NO=torch.cat([first.logp_NO, second.logp_NO], dim=1),
        logq_NO=torch.cat([first.logq_NO, second.logq_NO], dim=1),
        weights_NO=torch.cat([first.weights_NO, second.weights_NO], dim=1),
    )
