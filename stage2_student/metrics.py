"""Means over positions, per slice and over all, with an interval for the KL.

Positions of a text are not independent, so the bootstrap draws whole documents (Efron 1979): the
interval says how the KL would vary over other texts of the same kind.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stage2_student.calibration import Calibration
from stage2_student.evaluation import Metrics
from stage2_student.position_measures import PositionMeasures

Doubles = npt.NDArray[np.float64]

MEANS = ("cross_entropy", "teacher_cross_entropy", "kl", "kl_bucket", "agrees")
RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)
_LARGEST_EXPONENT = 700.0
"""exp of more is no float; a perplexity stays finite."""


def _zeros() -> Doubles:
    return np.zeros(1 + len(MEANS))


@dataclass(slots=True)
class MetricSums:
    """Sums over the positions of one slice, document by document.

    Attributes:
        student: its calibration.
        teacher: the teacher's.
    """

    student: Calibration = field(default_factory=Calibration)
    teacher: Calibration = field(default_factory=Calibration)
    _documents: dict[str, Doubles] = field(default_factory=dict)

    def add(self, document: str, measures: PositionMeasures, rows: slice) -> None:
        """Adds the positions `rows` of a batch, which belong to one document."""
        values = np.stack([getattr(measures, name)[rows] for name in MEANS])
        sums = self._documents.setdefault(document, _zeros())
        sums[0] += values.shape[1]
        sums[1:] += values.sum(axis=1)
        self.student.add(measures.confidence[rows], measures.correct[rows])
        self.teacher.add(measures.teacher_confidence[rows], measures.teacher_correct[rows])

    @property
    def mean_kl(self) -> float:
        """The KL so far."""
        sums = sum(self._documents.values(), _zeros())
        return float(sums[1 + MEANS.index("kl")] / max(sums[0], 1))

    def metrics(self) -> Metrics:
        """The means, and the interval of the KL."""
        sums = np.stack(list(self._documents.values()))
        positions = int(sums[:, 0].sum())
        means = dict(zip(MEANS, sums[:, 1:].sum(axis=0) / positions, strict=True))
        low, high = bootstrap(sums[:, 1 + MEANS.index("kl")], sums[:, 0])
        return Metrics(
            positions=positions,
            documents=len(sums),
            cross_entropy=means["cross_entropy"],
            perplexity=_perplexity(means["cross_entropy"]),
            teacher_cross_entropy=means["teacher_cross_entropy"],
            teacher_perplexity=_perplexity(means["teacher_cross_entropy"]),
            kl=means["kl"],
            kl_low=low,
            kl_high=high,
            kl_bucket=means["kl_bucket"],
            agreement=means["agrees"],
            ece=self.student.error,
            teacher_ece=self.teacher.error,
        )


def bootstrap(sums_D: Doubles, counts_D: Doubles, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of Σ sums / Σ counts when documents are drawn anew, with replacement."""
    random = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        drawn = random.integers(0, len(sums_D), len(sums_D))
        means[number] = sums_D[drawn].sum() / counts_D[drawn].sum()
    low, high = np.percentile(means, _INTERVAL).tolist()
    return low, high


def _perplexity(cross_entropy: float) -> float:
    return float(np.exp(min(cross_entropy, _LARGEST_EXPONENT)))
