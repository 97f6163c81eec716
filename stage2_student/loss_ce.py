"""Cross-entropy with the realised next token: the ordinary language-modelling loss.

    L = −(1 − ε) · log q_y − ε · (1/V) · Σ_j log q_j

y being the token that follows in the text, ε the label smoothing (0 by default) and V the width of
the student's head, cut to the teacher's. It needs nothing of the teacher. Sources: Hinton, Vinyals,
Dean 2015, arXiv:1503.02531 section 2, the second term of their weighted average; smoothing: Szegedy
et al. 2016, arXiv:1512.00567 section 7.
"""

import torch

from stage2_student.outcomes import Tail
from stage2_student.signals import StudentSignals, TeacherSignals


def cross_entropy(
    teacher: TeacherSignals, student: StudentSignals, tail: Tail, *, smoothing: float = 0.0
) -> torch.Tensor:
    """[N] cross-entropy of each position, in nats; 0 ≤ smoothing < 1.

    Raises:
        ValueError: smoothing, and the student's mean log-probability was not computed.
    """
    if not smoothing:
        return -student.logq_label_N
    if student.logq_mean_N is None:
        raise ValueError("label smoothing needs the student's mean: ask the head for it")
    return -(1 - smoothing) * student.logq_label_N - smoothing * student.logq_mean_N
