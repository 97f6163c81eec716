"""What both codecs get: the most probable entries of a real teacher.

Shapes: P positions of a sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.manifest import Capture
from schemas.progress import ignore
from stage1_teacher.preparation import Prepared, prepare
from stage1_teacher.samples import Ragged, Signals
from stage1_teacher.settings import DumpSettings
from stage1_teacher.shard_tables import Row

WIDEST = 128
WINDOW = 512
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecSample:
    """Sequences of one length, so that both trainers can stack them.

    Attributes:
        prepared: the dump that they would be of.
        once: the captured sequences, `WIDEST` entries a position.
        rows: the same several times over, under other ids: what is timed.
    """

    prepared: Prepared
    once: list[Row]
    rows: list[Row]


def captured_sample(teacher: str, corpus: Path, tokens: int) -> CodecSample:
    """Captures a corpus in float32; its full windows, repeated to about so many tokens."""
    settings = DumpSettings(
        teacher=teacher,
        corpus=str(corpus),
        out="unused",
        dtype="float32",
        license="unknown",
        max_length=WINDOW,
        batch_tokens=2048,
    )
    prepared = prepare(settings, ignore)
    samples = prepared.render(list(prepared.rows())).samples
    samples = [sample for sample in samples if len(sample.input_ids) == WINDOW]
    signals = dict(prepared.engine.capture(samples, top(WIDEST), 0))
    once = [(sample, signals[index]) for index, sample in enumerate(samples)]
    copies = max(1, round(tokens / count_tokens(once)))
    rows = [
        (replace(sample, id=f"{sample.id}-{copy}"), found)
        for copy in range(copies)
        for sample, found in once
    ]
    return CodecSample(prepared=prepared, once=once, rows=rows)


def top(k: int) -> Capture:
    """The policy of exactly k entries and no sample."""
    return Capture(min_prob=None, top_k=k, tail_samples=0, temperatures=[1.0])


def count_tokens(rows: Sequence[Row]) -> int:
    """Of all sequences."""
    return sum(len(sample.input_ids) for sample, _ in rows)


def dense(widest: Signals) -> tuple[npt.NDArray[np.int64], Doubles]:
    """[P, WIDEST] ids and exact log-probabilities."""
    ids = widest.topk.ids.reshape(-1, WIDEST).astype(np.int64)
    logits = widest.topk.logits.reshape(-1, WIDEST).astype(np.float64)
    outside = np.minimum(widest.tail_logmass[:, :1].astype(np.float64), -1e-12)
    sums = np.log(np.exp(logits).sum(1, keepdims=True))
    return ids, logits - sums + np.log1p(-np.exp(outside))


def kept(widest: Signals, capture: Capture) -> Signals:
    """The same with fewer of its `WIDEST` entries a position, the others' mass in the tail."""
    ids, logprobs = dense(widest)
    chosen = np.zeros(ids.shape, bool)
    chosen[:, : capture.top_k] = True
    if capture.min_prob is not None:
        chosen &= logprobs >= np.log(capture.min_prob)
        chosen[:, 0] = True
    outside = 1 - np.where(chosen, np.exp(logprobs), 0).sum(1, keepdims=True)
    entries = Ragged(
        offsets=np.concatenate([[0], np.cumsum(chosen.sum(1))]),
        ids=ids[chosen].astype(np.int32),
        logits=widest.topk.logits.reshape(ids.shape)[chosen],
    )
    return replace(
        widest, topk=entries, tail_logmass=np.log(np.maximum(outside, 1e-12)).astype(np.float32)
    )
