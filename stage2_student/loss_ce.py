"""Cross-entropy with the realised next token: the ordinary language-modelling loss.

    L = −log q_y

y being the token that follows in the text. It needs nothing of the teacher. Source: Hinton,
Vinyals, Dean 2015, arXiv:1503.02531 section 2, the second term of their weighted average.
"""

import torch

from stage2_student.outcomes import Tail
from stage2_student.signals import StudentSignals, TeacherSignals


def cross_entropy(teacher: TeacherSignals, student: StudentSignals, tail: Tail) -> torch.Tensor:
    """[N] −log q of the realised token at each position, in nats."""
    return -student.logq_label_N
