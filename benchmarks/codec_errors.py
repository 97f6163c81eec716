"""How far decoded distributions are from what was captured: KL, all that is not kept being one.

Shapes: P positions, k entries of each, or E of all.
"""

import numpy as np
import numpy.typing as npt

from schemas.codecs import CODECS, PLAIN
from stage1_teacher.samples import Signals

Doubles = npt.NDArray[np.float64]

_CODEC = CODECS[PLAIN]


def divergence(exact: Doubles, found: Doubles) -> Doubles:
    """[P] KL of log-probabilities [P, k]; the rest is what they leave of one, at least 1e-9."""
    p = np.exp(exact)
    rest, left = (np.maximum(1 - share.sum(1), 1e-9) for share in (p, np.exp(found)))
    result: Doubles = (p * (exact - found)).sum(1) + rest * (np.log(rest) - np.log(left))
    return result


def rounding_error(signals: Signals) -> Doubles:
    """[P] the same of signals and of what is stored of them, at temperature 1."""
    topk, tail = signals.topk, signals.tail_logmass[:, 0]
    exact, outside = _decoded(topk.logits, tail, topk.offsets)
    found, left = _decoded(
        _CODEC.round_logits(topk.logits), _CODEC.round_logmass(tail), topk.offsets
    )
    inside: Doubles = np.add.reduceat(np.exp(exact) * (exact - found), topk.offsets[:-1])
    return inside + np.exp(outside) * (outside - left)


def _decoded(
    logits: npt.NDArray[np.float32], tail: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64]
) -> tuple[Doubles, Doubles]:
    """[E] log-probabilities of the kept entries, [P] of the rest."""
    wide, outside = logits.astype(np.float64), np.minimum(tail.astype(np.float64), -1e-12)
    sums = np.log(np.add.reduceat(np.exp(wide), offsets[:-1])) - np.log1p(-np.exp(outside))
    return wide - np.repeat(sums, np.diff(offsets)), outside
