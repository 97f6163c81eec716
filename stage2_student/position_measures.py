"""What teacher and student say at every position of a batch, as numbers to be averaged.

Shapes: N positions.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from stage2_student.distillation import HeadReading
from stage2_student.loss_fkl import forward_kl
from stage2_student.outcomes import Tail
from stage2_student.signals import teacher_signals
from stage2_student.targets import Targets

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PositionMeasures:
    """[N] arrays of doubles.

    Attributes:
        cross_entropy: −log q of the realised token.
        teacher_cross_entropy: −log p of it.
        kl: KL(teacher ‖ student), estimated.
        kl_bucket: its lower bound.
        agrees: 1 where both models' most probable token is the same.
        confidence: the student's probability of its most probable token.
        correct: 1 where that token came.
        teacher_confidence: the same of the teacher.
        teacher_correct: the same of the teacher.
    """

    cross_entropy: Doubles
    teacher_cross_entropy: Doubles
    kl: Doubles
    kl_bucket: Doubles
    agrees: Doubles
    confidence: Doubles
    correct: Doubles
    teacher_confidence: Doubles
    teacher_correct: Doubles


def measure(targets: Targets, reading: HeadReading) -> PositionMeasures:
    """Measures a batch; the KL is the bucket's where the dump holds no tail sample."""
    teacher, student = teacher_signals(targets, 1.0), reading.signals[1.0]
    best_N = targets.ids_NK[:, 0]
    bucket = forward_kl(teacher, student, "bucket")
    tail: Tail = "sample" if targets.draws_per_unit else "bucket"
    return PositionMeasures(
        cross_entropy=_doubles(-student.logq_label_N),
        teacher_cross_entropy=_doubles(-teacher.logp_label_N),
        kl=_doubles(forward_kl(teacher, student, tail)),
        kl_bucket=_doubles(bucket),
        agrees=_doubles(reading.best_ids_N == best_N),
        confidence=_doubles(reading.best_logprobs_N.exp()),
        correct=_doubles(reading.best_ids_N == targets.labels_N),
        teacher_confidence=_doubles(teacher.logp_NK[:, 0].exp()),
        teacher_correct=_doubles(best_N == targets.labels_N),
    )


def _doubles(values_N: torch.Tensor) -> Doubles:
    return values_N.double().cpu().numpy()
