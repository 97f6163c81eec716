"""Generalised Jensen–Shannon divergence of teacher and student.

    L = Σ_j β · p_j · log(p_j / m_j) + (1 − β) · q_j · log(q_j / m_j),   m = β·p + (1 − β)·q

Bounded; β towards 1 behaves like reverse KL, towards 0 like forward KL (both scaled by the small
weight, so raise the learning rate or the term's weight with them). Source: Agarwal et al. 2024,
"On-Policy Distillation of Language Models" (GKD), arXiv:2306.13649 section 2.

Where the student has mass and the teacher none, the summand is c·q with c = (1 − β)·log 1/(1 − β).
The student's mass Q on the tail is known exactly, so with `sample` the draws only estimate what
differs from that line, which is small, and the result stays unbiased:

    Σ w·f(p, q) + c·(Q − Q̂),   Q̂ = Σ w·q over the draws, E Q̂ = Q

`bucket` is exact for the whole tail masses, and a lower bound.
"""

import math

import torch

from stage2_student.outcomes import Tail, make_outcomes, tail_masses
from stage2_student.signals import StudentSignals, TeacherSignals


def jensen_shannon(
    teacher: TeacherSignals, student: StudentSignals, tail: Tail, *, beta: float = 0.5
) -> torch.Tensor:
    """[N] JSD_β(p, q) of each position, in nats; 0 < beta < 1."""
    outcomes = make_outcomes(teacher, student, tail)
    logp_NO, logq_NO = outcomes.logp_NO, outcomes.logq_NO
    logm_NO = torch.logaddexp(logp_NO + math.log(beta), logq_NO + math.log1p(-beta))
    of_teacher_NO = beta * torch.exp(logp_NO) * (logp_NO - logm_NO)
    of_student_NO = (1 - beta) * torch.exp(logq_NO) * (logq_NO - logm_NO)
    drawn_N = outcomes.sum(of_teacher_NO + of_student_NO)
    if tail != "sample":
        return drawn_N
    slope = -(1 - beta) * math.log1p(-beta)
    return drawn_N + slope * tail_masses(teacher, student).q_missed_N
