"""Reliability bins and the expected calibration error.

    ECE = Σ_bins (count / all) · |accuracy − confidence|

over 15 bins of equal width of the probability that a model gives to its most probable token.
Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 2.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stage2_student.evaluation import Bin

BINS = 15
Doubles = npt.NDArray[np.float64]


def _zeros() -> Doubles:
    return np.zeros((3, BINS))


@dataclass(slots=True)
class Calibration:
    """Sums per bin: positions, their confidence, how many were right."""

    _sums: Doubles = field(default_factory=_zeros)

    def add(self, confidence_N: Doubles, correct_N: Doubles) -> None:
        """Adds positions: probability of the most probable token, and 1 where it came."""
        which = np.clip(np.ceil(confidence_N * BINS).astype(np.int64) - 1, 0, BINS - 1)
        for row, weights in enumerate((None, confidence_N, correct_N)):
            self._sums[row] += np.bincount(which, weights, minlength=BINS)

    @property
    def error(self) -> float:
        """The expected calibration error."""
        count, confidence, correct = self._sums
        return float(np.abs(correct - confidence).sum() / max(count.sum(), 1))

    @property
    def bins(self) -> list[Bin]:
        """The bins in ascending order, empty ones included."""
        return [
            Bin(
                lower=number / BINS,
                upper=(number + 1) / BINS,
                count=int(count),
                confidence=confidence / max(count, 1),
                accuracy=correct / max(count, 1),
            )
            for number, (count, confidence, correct) in enumerate(self._sums.T.tolist())
        ]
