"""Every loss that reads the student's output head, on one screen.

A loss is a pure function of what both models say at N positions (`signals.py`), differentiated by
ordinary autograd; the fused head does the rest. To add one: one file `loss_<name>.py` with the
formula and its source, one line here, one test against a dense twin.
"""

from collections.abc import Callable

import torch

from stage2_student.loss_ce import cross_entropy
from stage2_student.loss_fkl import forward_kl
from stage2_student.outcomes import Tail
from stage2_student.signals import StudentSignals, TeacherSignals

Loss = Callable[[TeacherSignals, StudentSignals, Tail], torch.Tensor]
"""(teacher, student, treatment of the tail) → [N] loss of each position."""

LOSSES: dict[str, Loss] = {
    "fkl": forward_kl,
    "ce": cross_entropy,
}
