"""The obvious way from samples to targets: Python per position, straight from the teacher."""

import math

import numpy as np

from schemas.codecs import CODECS
from stage2_student.batch import Batch
from tests.capture_twin import capture_twin
from tests.dumps import Dump


class Expected:
    """What a dump must say, from the teacher's dense logits."""

    def __init__(self, dump: Dump) -> None:
        self.dump = dump
        manifest = dump.manifest
        self.capture, self.codec = manifest.capture, CODECS[manifest.codec]
        self.signals = {
            name: capture_twin(sample, dump.logits[name], self.capture, manifest.limits.seed)
            for name, sample in dump.samples.items()
        }

    def position(self, name: str, position: int) -> dict:
        """What it must say at one position of a sample."""
        sample, signals = self.dump.samples[name], self.signals[name]
        at = sample.positions.tolist().index(position)
        own = {
            "kept": _entries(signals.topk, at, self.codec),
            "tail": _entries(signals.tail, at, self.codec),
            "label": int(sample.input_ids[position + 1]),
            "logprob": float(signals.token_logprobs[at]),
        }
        for number, temperature in enumerate(self.capture.temperatures):
            mass = self.codec.round_logmass(signals.tail_logmass[at : at + 1, number])
            own[temperature] = float(mass[0])
        return own


def _entries(ragged, at, codec) -> list[tuple[int, float]]:
    span = slice(ragged.offsets[at], ragged.offsets[at + 1])
    if span.start == span.stop:
        return []
    logits = codec.round_logits(np.ascontiguousarray(ragged.logits[span]))
    return list(zip(ragged.ids[span].tolist(), logits.tolist(), strict=True))


def found_position(batch: Batch, target: int) -> dict:
    """What a batch says at one of its targets."""
    targets = batch.targets
    own = {
        "kept": _present(targets.ids_NK[target], targets.logits_NK[target]),
        "tail": _present(targets.tail_ids_NS[target], targets.tail_logits_NS[target]),
        "label": int(targets.labels_N[target]),
        "logprob": float(targets.token_logprobs_N[target]),
    }
    return own | {t: float(mass[target]) for t, mass in targets.tail_logmass_N.items()}


def _present(ids, logits) -> list[tuple[int, float]]:
    pairs = list(zip(ids.tolist(), logits.tolist(), strict=True))
    kept = [pair for pair in pairs if not math.isinf(pair[1])]
    assert all(pair == (0, -math.inf) for pair in pairs[len(kept) :])
    return kept
