"""Forward Kullback–Leibler divergence, KL(teacher ‖ student).

    L = Σ_o w_o · p_o · (log p_o − log q_o)

over the outcomes o of `outcomes.py` (kept entries and the tail). Mass-covering: the student is
punished wherever the teacher has mass. Source: Hinton, Vinyals, Dean 2015, "Distilling the
Knowledge in a Neural Network", arXiv:1503.02531 (there as a cross-entropy with soft targets, which
differs by the teacher's entropy, a constant).

With `tail="sample"` the value is an unbiased estimate and may be slightly negative at a position.
"""

import torch

from stage2_student.outcomes import Tail, make_outcomes
from stage2_student.signals import StudentSignals, TeacherSignals


def forward_kl(teacher: TeacherSignals, student: StudentSignals, tail: Tail) -> torch.Tensor:
    """[N] KL(p ‖ q) of each position, in nats."""
    outcomes = make_outcomes(teacher, student, tail)
    p_NO = torch.exp(outcomes.logp_NO)
    return outcomes.sum(p_NO * (outcomes.logp_NO - outcomes.logq_NO))
