"""What stored signals keep of exact distributions, position by position.

Shapes: N positions of a block, V vocabulary, E entries of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.gold_rows import GoldRow
from stage1_teacher.output_head import OutputHead
from stage1_teacher.samples import Ragged, Signals

_BLOCK = 128
_OFF = 1.0
"""Standard deviation, in nats, of what the student's logit of a token is off by."""


@dataclass(slots=True)
class Measures:
    """Sums over positions; pipeline/gold_audit.py has the formulas."""

    positions: int = 0
    top1: int = 0
    kl: float = 0.0
    kl_max: float = 0.0
    tail_error: float = 0.0
    error2: float = 0.0
    gradient2: float = 0.0
    error_V: Any = field(default=0.0)
    gradient_V: Any = field(default=0.0)

    @property
    def kl_mean(self) -> float:
        """Mean codec KL of a position."""
        return self.kl / max(1, self.positions)

    @property
    def mean_tail_error(self) -> float:
        """Mean error of the tail mass."""
        return self.tail_error / max(1, self.positions)

    @property
    def gradient_error(self) -> float:
        """Relative error of the gradient at one position."""
        return float((self.error2 / max(self.gradient2, 1e-30)) ** 0.5)

    @property
    def mean_gradient_error(self) -> float:
        """Relative error of the mean gradient."""
        if not self.positions:
            return 0.0
        return float(self.error_V.norm() / self.gradient_V.norm().clamp_min(1e-30))


@torch.inference_mode()
def measure(
    head: OutputHead, rows: Sequence[GoldRow], signals: Sequence[Signals], draws: int
) -> Measures:
    """Compares signals, already rounded as they are stored, with the gold distributions.

    Args:
        head: of the gold sample.
        rows: its sequences.
        signals: of each sequence.
        draws: S, draws per unit of probability; 0: the tail is one outcome.
    """
    sums = Measures()
    for row, found in zip(rows, signals, strict=True):
        for start in range(0, len(row.states), _BLOCK):
            block = slice(start, min(start + _BLOCK, len(row.states)))
            states = torch.from_numpy(row.states[block])
            logits_NV = torch.empty((len(states), head.size), dtype=head.logits_dtype)
            head.logits(states, logits_NV)
            _add(sums, logits_NV.float(), found, block, draws)
    return sums


def _add(sums: Measures, logits_NV: Tensor, found: Signals, block: slice, draws: int) -> None:
    logp_NV = logits_NV.log_softmax(-1)
    rows_E, ids_E, gaps_E = _entries(found.topk, block)
    tails_N = torch.from_numpy(found.tail_logmass[block, 0].astype(np.float64))
    logs_E = _decoded(rows_E, gaps_E, tails_N)
    true_E = logp_NV[rows_E, ids_E].double()
    mass_N = torch.zeros_like(tails_N).index_add_(0, rows_E, true_E.exp())
    rest_N = (1 - mass_N).clamp_min(1e-9)
    kl_N = torch.zeros_like(tails_N).index_add_(0, rows_E, true_E.exp() * (true_E - logs_E))
    kl_N += rest_N * (rest_N.log() - tails_N)
    firsts = torch.from_numpy(found.topk.offsets[block]) - int(found.topk.offsets[block.start])
    best_N = logits_NV.max(-1).values
    sums.positions += len(kl_N)
    sums.top1 += int((logits_NV[torch.arange(len(kl_N)), ids_E[firsts]] == best_N).sum())
    sums.kl += float(kl_N.sum())
    sums.kl_max = max(sums.kl_max, float(kl_N.max()))
    sums.tail_error += float((tails_N.exp() - (1 - mass_N)).abs().sum())
    _add_gradients(sums, logits_NV, (rows_E, ids_E, logs_E), (found, block, tails_N, draws))


def _add_gradients(
    sums: Measures,
    logits_NV: Tensor,
    kept: tuple[Tensor, Tensor, Tensor],
    stored: tuple[Signals, slice, Tensor, int],
) -> None:
    """ĝ − g = p − p̂ and g = q − p, whatever the student's q."""
    rows_E, ids_E, logs_E = kept
    found, block, tails_N, draws = stored
    off_V = _OFF * torch.randn(logits_NV.shape[1], generator=torch.Generator().manual_seed(0))
    q_NV, p_NV = (logits_NV + off_V).softmax(-1), logits_NV.softmax(-1)
    if draws:
        estimate_NV = torch.zeros_like(p_NV)
        at_S, drawn_S, _ = _entries(found.tail, block)
        share = torch.full((len(at_S),), 1 / draws)
        estimate_NV.index_put_((at_S, drawn_S), share, accumulate=True)
    else:
        estimate_NV = q_NV.clone()
        estimate_NV[rows_E, ids_E] = 0
        scale_N = tails_N.exp().float() / estimate_NV.sum(-1).clamp_min(1e-30)
        estimate_NV *= scale_N[:, None]
    estimate_NV[rows_E, ids_E] = logs_E.exp().float()
    error_NV, gradient_NV = p_NV - estimate_NV, q_NV - p_NV
    sums.error2 += float(error_NV.square().sum())
    sums.gradient2 += float(gradient_NV.square().sum())
    sums.error_V = sums.error_V + error_NV.sum(0).double()
    sums.gradient_V = sums.gradient_V + gradient_NV.sum(0).double()


def _entries(part: Ragged, block: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Rows within the block, ids and logits of all entries of the block's positions."""
    offsets = part.offsets[block.start : block.stop + 1]
    inside = slice(int(offsets[0]), int(offsets[-1]))
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    ids = torch.from_numpy(part.ids[inside].astype(np.int64))
    return torch.from_numpy(rows), ids, torch.from_numpy(part.logits[inside].astype(np.float64))


def _decoded(rows_E: Tensor, gaps_E: Tensor, tails_N: Tensor) -> Tensor:
    """log_softmax(gaps) + log(1 − exp(tail)), position by position."""
    sums_N = torch.zeros_like(tails_N).index_add_(0, rows_E, gaps_E.exp())
    shift_N = (-torch.expm1(tails_N.clamp_max(-1e-12))).log() - sums_N.log()
    return gaps_E + shift_N[rows_E]
