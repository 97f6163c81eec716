"""The slow, obvious fp64 twin of every capture path: dense logits in, signals out."""

import numpy as np

from schemas.manifest import Capture
from stage1_teacher.samples import Ragged, Sample, Signals
from stage1_teacher.tail_offsets import tail_offsets


def capture_twin(sample: Sample, logits_LV: np.ndarray, capture: Capture, seed: int) -> Signals:
    """Signals of one sample from its dense logits, one position and one entry at a time."""
    positions = sample.positions
    offsets = tail_offsets(seed, sample.id, positions)
    kept, tails, masses, maxima, realised = [], [], [], [], []
    for position, offset in zip(positions, offsets, strict=True):
        gaps = logits_LV[position].astype(np.float64)
        maxima.append(gaps.max())
        gaps = gaps - gaps.max()
        p = np.exp(gaps) / np.exp(gaps).sum()
        ids = _kept(gaps, p, capture)
        rest = np.setdiff1d(np.arange(len(p)), ids)
        kept.append((ids, gaps[ids]))
        draws = _draws(rest, p, capture.tail_samples, offset)
        tails.append((draws, gaps[draws]))
        masses.append([_logmass(gaps, rest, t) for t in capture.temperatures])
        realised.append(np.log(p[sample.input_ids[position + 1]]))
    return Signals(
        topk=_ragged(kept),
        tail=_ragged(tails),
        tail_logmass=np.asarray(masses, np.float32).reshape(len(positions), -1),
        max_logit=np.asarray(maxima, np.float32),
        token_logprobs=np.asarray(realised, np.float32),
    )


def _kept(gaps, p, capture):
    order = np.lexsort((np.arange(len(p)), -gaps))[: capture.top_k]
    if capture.min_prob is None:
        return order
    return order[: max(1, int((p[order] >= capture.min_prob).sum()))]


def _draws(rest, p, samples, offset):
    if samples == 0:
        return np.zeros(0, np.int64)
    cumulative = np.cumsum(p[rest])
    mass = cumulative[-1] if len(rest) else 0.0
    points = (offset + np.arange(samples + 1)) / samples
    return rest[np.searchsorted(cumulative, points[points < mass], side="right")]


def _logmass(gaps, rest, temperature):
    scaled = gaps / temperature
    mass = np.exp(scaled[rest]).sum() / np.exp(scaled).sum()
    return np.log(max(mass, 1e-30))


def _ragged(parts):
    lengths = [len(ids) for ids, _ in parts]
    empty = np.zeros(0)
    return Ragged(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ids=np.concatenate([empty, *(ids for ids, _ in parts)]).astype(np.int32),
        logits=np.concatenate([empty, *(logits for _, logits in parts)]).astype(np.float32),
    )
