"""An evaluation the obvious way: dense, double precision, one position after the other."""

from dataclasses import dataclass

import numpy as np
import torch

from tests.dumps import Dump


@dataclass
class Position:
    """What is true at one position."""

    id: str
    source: str
    cross_entropy: float
    teacher_cross_entropy: float
    kl: float
    agrees: bool
    confidence: float
    correct: bool
    teacher_confidence: float
    teacher_correct: bool


def dense_positions(dump: Dump, model, names: set[str]) -> list[Position]:
    """Every captured position of the named samples, from both models' full distributions."""
    found = []
    for name in sorted(names):
        sample = dump.samples[name]
        ids = torch.tensor(sample.input_ids.astype(np.int64))[None]
        width = dump.logits[name].shape[1]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :, :width].double()
        log_q = torch.log_softmax(logits, dim=1).numpy()
        log_p = torch.log_softmax(torch.tensor(dump.logits[name]).double(), dim=1).numpy()
        for t in sample.positions.tolist():
            label = sample.input_ids[t + 1]
            p, q = np.exp(log_p[t]), np.exp(log_q[t])
            found.append(
                Position(
                    id=name,
                    source=sample.source,
                    cross_entropy=-log_q[t, label],
                    teacher_cross_entropy=-log_p[t, label],
                    kl=float((p * (log_p[t] - log_q[t])).sum()),
                    agrees=p.argmax() == q.argmax(),
                    confidence=q.max(),
                    correct=q.argmax() == label,
                    teacher_confidence=p.max(),
                    teacher_correct=p.argmax() == label,
                )
            )
    return found


def calibration_error(confidences: list[float], corrects: list[bool], bins: int = 15) -> float:
    """Guo et al. 2017, section 2: bins (m/M, (m+1)/M]."""
    total = 0.0
    for m in range(bins):
        inside = [
            (c, ok)
            for c, ok in zip(confidences, corrects, strict=True)
            if m / bins < c <= (m + 1) / bins
        ]
        if inside:
            accuracy = np.mean([ok for _, ok in inside])
            total += (
                len(inside) / len(confidences) * abs(accuracy - np.mean([c for c, _ in inside]))
            )
    return total
