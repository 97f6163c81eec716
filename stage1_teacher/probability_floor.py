"""`--probability-floor`: what is less probable than the floor is not stored.

A model that has learned a rare string by heart shows it in entries of small probability; a dump
with a floor holds none of them. Entries of the head are kept from the floor on because `min_prob`
is at least the floor; what this module removes is draws of the tail sample below it.
"""

import numpy as np
import numpy.typing as npt

from schemas.manifest import Capture
from stage1_teacher.samples import Offsets, Ragged, Signals


def floored(signals: Signals, capture: Capture) -> Signals:
    """The signals without draws that are less probable than the floor at temperature 1.

    log p(j) = logit_j − log Σ_kept exp(logit) + log(1 − exp(tail)); the mass outside the kept
    entries stays what it is, so the sample then stands for less than all of it.
    """
    floor, tail = capture.probability_floor, signals.tail
    if floor is None or not len(tail.ids):
        return signals
    topk = signals.topk
    sums = np.add.reduceat(np.exp(topk.logits.astype(np.float64)), topk.offsets[:-1])
    kept = np.log(-np.expm1(np.minimum(signals.tail_logmass[:, 0].astype(np.float64), -1e-12)))
    drawn = np.diff(tail.offsets)
    logprobs = tail.logits + np.repeat(kept - np.log(sums), drawn)
    stay = logprobs >= np.log(floor)
    offsets = np.zeros(len(tail.offsets), np.int64)
    np.cumsum(_counts(stay, tail.offsets), out=offsets[1:])
    lower = Ragged(offsets=offsets, ids=tail.ids[stay], logits=tail.logits[stay])
    return Signals(
        topk=topk,
        tail=lower,
        tail_logmass=signals.tail_logmass,
        max_logit=signals.max_logit,
        token_logprobs=signals.token_logprobs,
        hidden=signals.hidden,
    )


def _counts(stay: npt.NDArray[np.bool_], offsets: Offsets) -> Offsets:
    """How many of each position's draws stay."""
    ends = np.concatenate([[0], np.cumsum(stay)])
    return np.asarray(ends[offsets[1:]] - ends[offsets[:-1]], np.int64)
