"""Skewed reverse KL, KL(student ‖ mix of teacher and student).

    L = Σ_j q_j · log(q_j / m_j),   m = (1 − α)·p + α·q

Reverse KL that stays finite where the teacher has nearly no mass: there a summand is q·log(1/α).
Source: Ko et al. 2024, "DistiLLM", arXiv:2402.03898 section 3.1, who use α = 0.1.

The student's mass Q on the tail is known exactly, so with `sample` (default) that line is taken
with Q, and the draws only estimate the difference to it, at most (1 − α)/α·p; unbiased:

    Σ w·f(p, q) + log(1/α)·(Q − Q̂),   Q̂ = Σ w·q over the draws, E Q̂ = Q

`bucket` is exact for the whole tail masses, and a lower bound. `none` rewards a student that moves
its mass out of the kept entries.
"""

import math

import torch

from stage2_student.outcomes import Tail, make_outcomes, tail_masses
from stage2_student.signals import StudentSignals, TeacherSignals


def skewed_reverse_kl(
    teacher: TeacherSignals, student: StudentSignals, tail: Tail, *, alpha: float = 0.1
) -> torch.Tensor:
    """[N] KL(q ‖ (1 − α)·p + α·q) of each position, in nats; 0 < alpha < 1."""
    outcomes = make_outcomes(teacher, student, tail)
    logp_NO, logq_NO = outcomes.logp_NO, outcomes.logq_NO
    logm_NO = torch.logaddexp(logp_NO + math.log1p(-alpha), logq_NO + math.log(alpha))
    drawn_N = outcomes.sum(torch.exp(logq_NO) * (logq_NO - logm_NO))
    if tail != "sample":
        return drawn_N
    return drawn_N - math.log(alpha) * tail_masses(teacher, student).q_missed_N
