"""From what the device kept to `Signals` per sample, in numpy and float64.

Shapes: N rows, P captured positions of one sample, T temperatures, E kept entries, S draws.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from stage1_teacher.capture import Reduced
from stage1_teacher.samples import Floats, Offsets, Ragged, Signals

Doubles = npt.NDArray[np.float64]

_NO_FLOATS = np.zeros(0, np.float32)
_FLOOR = 1e-30
"""Below every floor of a codec, and still a finite logarithm."""


def gather_signals(parts: Iterable[Reduced], temperatures: Sequence[float]) -> Signals:
    """All rows of a batch, as if they were one sample."""
    return join_signals([_signals(part, temperatures) for part in parts], len(temperatures))


def split_signals(signals: Signals, counts: Sequence[int]) -> Iterator[Signals]:
    """Cuts the rows into samples of `counts` positions each."""
    start = 0
    for count in counts:
        rows = slice(start, start + count)
        start += count
        yield Signals(
            topk=_cut(signals.topk, rows),
            tail=_cut(signals.tail, rows),
            tail_logmass=signals.tail_logmass[rows],
            max_logit=signals.max_logit[rows],
            token_logprobs=signals.token_logprobs[rows],
        )


def take_rows(signals: Signals, rows: Offsets) -> Signals:
    """Any rows, in the order of `rows`."""
    return Signals(
        topk=_taken(signals.topk, rows),
        tail=_taken(signals.tail, rows),
        tail_logmass=signals.tail_logmass[rows],
        max_logit=signals.max_logit[rows],
        token_logprobs=signals.token_logprobs[rows],
    )


def _signals(part: Reduced, temperatures: Sequence[float]) -> Signals:
    rows = len(part.largest_N)
    topk = _ragged(part.kept, rows)
    tails = part.tails_NT.cpu().numpy()
    return Signals(
        topk=topk,
        tail=_ragged(part.drawn, rows),
        tail_logmass=_log_shares(tails, _kept_sums(topk, temperatures)),
        max_logit=part.largest_N.cpu().numpy(),
        token_logprobs=part.token_logprobs_N.float().cpu().numpy(),
    )


def _ragged(entries: tuple[torch.Tensor, torch.Tensor, torch.Tensor], rows: int) -> Ragged:
    at, ids, gaps = (values.cpu().numpy() for values in entries)
    return Ragged(
        offsets=np.searchsorted(at, np.arange(rows + 1)).astype(np.int64),
        ids=ids.astype(np.int32),
        logits=gaps,
    )


def _kept_sums(topk: Ragged, temperatures: Sequence[float]) -> Doubles:
    """[N, T] sum of exp(gap/T) over the kept entries; there is always one."""
    gaps = topk.logits.astype(np.float64)
    sums = [np.add.reduceat(np.exp(gaps / t), topk.offsets[:-1]) for t in temperatures]
    return np.stack(sums, axis=-1)


def _log_shares(tails: Doubles, kept: Doubles) -> Floats:
    """log(tail / (tail + kept)), through whichever of the two is smaller."""
    smaller = np.minimum(tails, kept) / (tails + kept)
    logs = np.where(tails > kept, np.log1p(-smaller), np.log(np.maximum(smaller, _FLOOR)))
    return logs.astype(np.float32)


def join_signals(parts: Sequence[Signals], temperatures: int) -> Signals:
    """The rows of all, one after another; of none, there are no rows at so many temperatures."""
    if not parts:
        return _nothing(temperatures)
    return Signals(
        topk=_chained([part.topk for part in parts]),
        tail=_chained([part.tail for part in parts]),
        tail_logmass=np.concatenate([part.tail_logmass for part in parts]),
        max_logit=np.concatenate([part.max_logit for part in parts]),
        token_logprobs=np.concatenate([part.token_logprobs for part in parts]),
    )


def _nothing(temperatures: int) -> Signals:
    none = Ragged(offsets=np.zeros(1, np.int64), ids=np.zeros(0, np.int32), logits=_NO_FLOATS)
    return Signals(
        topk=none,
        tail=none,
        tail_logmass=_NO_FLOATS.reshape(0, temperatures),
        max_logit=_NO_FLOATS,
        token_logprobs=_NO_FLOATS,
    )


def _chained(parts: Sequence[Ragged]) -> Ragged:
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return Ragged(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ids=np.concatenate([part.ids for part in parts]),
        logits=np.concatenate([part.logits for part in parts]),
    )


def _cut(ragged: Ragged, rows: slice) -> Ragged:
    offsets = ragged.offsets[rows.start : rows.stop + 1]
    entries = slice(offsets[0], offsets[-1])
    return Ragged(
        offsets=offsets - offsets[0], ids=ragged.ids[entries], logits=ragged.logits[entries]
    )


def _taken(ragged: Ragged, rows: Offsets) -> Ragged:
    starts = ragged.offsets[rows]
    lengths = ragged.offsets[rows + 1] - starts
    ends = np.cumsum(lengths)
    entries = np.arange(lengths.sum()) + np.repeat(starts - (ends - lengths), lengths)
    return Ragged(
        offsets=np.concatenate([[0], ends]).astype(np.int64),
        ids=ragged.ids[entries],
        logits=ragged.logits[entries],
    )
