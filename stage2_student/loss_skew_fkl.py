"""Skewed forward KL, KL(teacher ‖ mix of teacher and student).

    L = Σ_j p_j · log(p_j / m_j),   m = α·p + (1 − α)·q

Forward KL whose gradient stays bounded where the student has nearly no mass: a far student trains
more calmly. Source: Ko et al. 2024, "DistiLLM", arXiv:2402.03898 section 3.1, who use α = 0.1.

Linear enough in the teacher that the draws alone do: with `sample` (default) a draw's summand grows
with log(q/p) only, and the result is unbiased. `bucket` is exact for the whole tail masses, and a
lower bound.
"""

import math

import torch

from stage2_student.outcomes import Tail, make_outcomes
from stage2_student.signals import StudentSignals, TeacherSignals


def skewed_forward_kl(
    teacher: TeacherSignals, student: StudentSignals, tail: Tail, *, alpha: float = 0.1
) -> torch.Tensor:
    """[N] KL(p ‖ α·p + (1 − α)·q) of each position, in nats; 0 < alpha < 1."""
    outcomes = make_outcomes(teacher, student, tail)
    logp_NO, logq_NO = outcomes.logp_NO, outcomes.logq_NO
    logm_NO = torch.logaddexp(logp_NO + math.log(alpha), logq_NO + math.log1p(-alpha))
    return outcomes.sum(torch.exp(logp_NO) * (logp_NO - logm_NO))
