"""Weights of positions by how sure the teacher is there, at temperature 1.

- `entropy`: H = −Σ_j p_j · log p_j in nats. Where it is unsure there is more to learn than the text
  shows. Kept entries are exact; the tail comes from its draws (unbiased), or where none are read
  counts as one outcome, which is a lower bound.
- `confidence`: the largest p, exact. Trusts the teacher where it trusts itself.
"""

from dataclasses import replace
from typing import Literal

import torch

from stage2_student.signals import TeacherSignals, teacher_signals
from stage2_student.targets import Targets

ByTeacher = Literal["none", "entropy", "confidence"]


def weighed(targets: Targets, by: ByTeacher) -> Targets:
    """The targets with their weights multiplied by what the teacher's certainty gives.

    Raises:
        KeyError: the tail mass at temperature 1 was not read.
    """
    if by == "none":
        return targets
    teacher = teacher_signals(targets, 1.0)
    factor_N = _entropy(teacher) if by == "entropy" else torch.exp(teacher.logp_NK).amax(dim=1)
    return replace(targets, weights_N=targets.weights_N * factor_N)


def _entropy(teacher: TeacherSignals) -> torch.Tensor:
    kept_N = _summands(teacher.logp_NK).sum(dim=1)
    if teacher.logp_NS.shape[1] == 0:
        return kept_N + _summands(teacher.logp_tail_N)
    return kept_N + (_summands(teacher.logp_NS) * teacher.draw_weights_NS).sum(dim=1)


def _summands(logp: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.special.entr(torch.exp(logp))
    return found
