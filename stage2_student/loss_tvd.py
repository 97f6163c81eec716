"""Total variation distance of teacher and student.

    L = ½ · Σ_j |p_j − q_j|

Between 0 and 1, symmetric, and deaf to how small a small probability is: robust where a teacher's
tail is noise, slow where a student is far. Source: Wen et al. 2023, "f-Divergence Minimization for
Sequence-Level Knowledge Distillation", arXiv:2307.15190.

Both models' masses P and Q on the tail are known exactly, and ½·|p − q| = ½·(p + q) − min(p, q).
So with `sample` (default) only min(p, q) ≤ p is left to the draws; unbiased, and no draw can weigh
more than it does in forward KL:

    ½·(P + Q) − Σ w·min(p, q)

`bucket` is ½·|P − Q|, exact for the whole tail masses, and a lower bound.
"""

import torch

from stage2_student.outcomes import Tail, make_outcomes, tail_masses
from stage2_student.signals import StudentSignals, TeacherSignals


def total_variation(teacher: TeacherSignals, student: StudentSignals, tail: Tail) -> torch.Tensor:
    """[N] ½·Σ|p − q| of each position."""
    outcomes = make_outcomes(teacher, student, tail)
    difference_NO = torch.exp(outcomes.logp_NO) - torch.exp(outcomes.logq_NO)
    drawn_N = 0.5 * outcomes.sum(difference_NO.abs())
    if tail != "sample":
        return drawn_N
    masses = tail_masses(teacher, student)
    return drawn_N + 0.5 * (masses.p_missed_N + masses.q_missed_N)
