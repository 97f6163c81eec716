"""The student's softmax over one block, and the gradient that is written over it.

With u = logits / T, q = softmax(u), Q_tail = Σ_{j not kept} q_j, and g_K, g_S, g_tail, g_y, g_lse,
g_mean the loss's derivatives with respect to log q at the kept entries, at the draws, to log
Q_tail, to log q of the realised token, to the log-sum-exp and to the mean of log q over the
vocabulary, G = Σ g_K + Σ g_S + g_tail + g_y + g_mean:

    dL/du_j = q_j · (g_lse − G + [j not kept] · g_tail / Q_tail) + Σ_{o: token of o is j} g_o
              + g_mean / V

and dL/dz = dL/du / T. The kept entries are set to zero before the tail is summed, because
1 − Σ kept would cancel.

Shapes: n positions of a block, V vocabulary, K kept entries, S tail draws.
"""

from dataclasses import dataclass

import torch

from stage2_student.signals import StudentSignals
from stage2_student.targets import Targets


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Places:
    """Where in a block's rows the loss looks."""

    kept_nK: torch.Tensor
    padded_nK: torch.Tensor
    draws_nS: torch.Tensor
    labels_n1: torch.Tensor


def places_of(targets: Targets) -> Places:
    """The places of one block; padding points at the row's first kept entry, which is harmless."""
    padded_nK = torch.isneginf(targets.logits_NK)
    return Places(
        kept_nK=torch.where(padded_nK, targets.ids_NK[:, :1], targets.ids_NK),
        padded_nK=padded_nK,
        draws_nS=targets.tail_ids_NS,
        labels_n1=targets.labels_N[:, None],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Which sums over the vocabulary a loss reads, each a pass more over the block.

    Attributes:
        tail: the mass outside the kept entries.
        mean: the mean log-probability.
    """

    tail: bool = False
    mean: bool = False


class BlockSoftmax:
    """The softmax of one block at one temperature; takes over the buffer with logits / T."""

    def __init__(
        self, scaled_nV: torch.Tensor, places: Places, temperature: float, sums: Sums
    ) -> None:
        self._places = places
        self._temperature = temperature
        self._mean_n1 = scaled_nV.mean(dim=1, keepdim=True) if sums.mean else None
        picked = [scaled_nV.gather(1, ids) for ids in _ids(places)]
        peak_n1 = scaled_nV.amax(dim=1, keepdim=True)
        self._q_nV = torch.softmax(scaled_nV, dim=1, out=scaled_nV)
        self._lse_n1 = peak_n1 - self._q_nV.amax(dim=1, keepdim=True).log()
        self._logq = [logits - self._lse_n1 for logits in picked]
        self._tail_n1 = self._cut_tail() if sums.tail else None

    def _cut_tail(self) -> torch.Tensor:
        """[n, 1] the tail's mass; leaves zeros at the kept entries."""
        self._q_nV.scatter_(1, self._places.kept_nK, 0.0)
        smallest = torch.finfo(self._q_nV.dtype).tiny
        return self._q_nV.sum(dim=1, keepdim=True).clamp_(min=smallest)

    def signals(self, differentiable: bool) -> StudentSignals:
        """The small tensors that a loss is computed from; leaves of autograd if so wanted."""

        def leaf(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.detach().requires_grad_(differentiable)

        kept, draws, labels = self._logq
        tail_n1, mean_n1 = self._tail_n1, self._mean_n1
        return StudentSignals(
            logq_NK=leaf(kept),
            logq_NS=leaf(draws),
            logq_tail_N=None if tail_n1 is None else leaf(tail_n1.log().squeeze(1)),
            logq_label_N=leaf(labels.squeeze(1)),
            lse_N=leaf(self._lse_n1.squeeze(1)),
            logq_mean_N=None if mean_n1 is None else leaf((mean_n1 - self._lse_n1).squeeze(1)),
        )

    def gradient_(self, signals: StudentSignals) -> torch.Tensor:
        """[n, V] from the leaves' gradients, written over the softmax: dL/dlogits."""
        kept, draws, labels, lse, tail, mean = (
            _over_temperature(leaf, self._temperature) for leaf in _leaves(signals)
        )
        row_n1 = torch.zeros_like(self._lse_n1) if lse is None else lse
        for gradient in (kept, draws, labels, tail, mean):
            if gradient is not None:
                row_n1 = row_n1 - gradient.sum(dim=1, keepdim=True)
        self._scale_rows(row_n1, tail)
        for ids, gradient in zip(_ids(self._places), (kept, draws, labels), strict=True):
            if gradient is not None:
                self._q_nV.scatter_add_(1, ids, gradient)
        if mean is not None:
            self._q_nV.add_(mean / self._q_nV.shape[1])
        return self._q_nV

    def _scale_rows(self, row_n1: torch.Tensor, tail_n1: torch.Tensor | None) -> None:
        if self._tail_n1 is None:
            self._q_nV.mul_(row_n1)
            return
        tail_row_n1 = row_n1 if tail_n1 is None else row_n1 + tail_n1 / self._tail_n1
        self._q_nV.mul_(tail_row_n1)
        kept_nK = (self._logq[0].exp() * row_n1).masked_fill_(self._places.padded_nK, 0)
        self._q_nV.scatter_add_(1, self._places.kept_nK, kept_nK)


def _ids(places: Places) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return places.kept_nK, places.draws_nS, places.labels_n1


def _leaves(signals: StudentSignals) -> tuple[torch.Tensor | None, ...]:
    s = signals
    return s.logq_NK, s.logq_NS, s.logq_label_N, s.lse_N, s.logq_tail_N, s.logq_mean_N


def _over_temperature(leaf: torch.Tensor | None, temperature: float) -> torch.Tensor | None:
    """[n, ·] the leaf's gradient divided by T; None if the loss does not depend on it."""
    if leaf is None or leaf.grad is None:
        return None
    gradient = leaf.grad if leaf.grad.dim() == 2 else leaf.grad[:, None]
    return gradient / temperature
