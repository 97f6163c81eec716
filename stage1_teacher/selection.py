"""Which entries of a row of logits are kept, found through the maxima of blocks of columns.

Every kept entry is at least as large as a bound that the block maxima give, so only the few blocks
whose maximum reaches the bound are looked at: about one pass over the logits instead of a full
top-k. The bound is the larger of two: the K-th largest block maximum (each of those K blocks has an
entry that large, so the K-th largest entry is no smaller), and the logit of probability `min_prob`.

Shapes: N rows, B blocks of W columns each, M blocks visited, C candidates, E kept entries.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from schemas.manifest import Capture

_WIDEST = 128
_BLOCKS_PER_ENTRY = 12
"""With a fixed number of entries at least so many blocks are visited: they must be few of all."""
_MARGIN = 1e-2
"""Nats below min_prob at which an entry is still looked at, because the bound is rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The kept entries of N rows.

    Attributes:
        rows_E: their rows, ascending.
        ids_E: their columns: most probable first in a row, ties by lowest id.
        logits_E: their logits, float32.
        blocks_M: the blocks visited, as row·B + block.
        rest_MW: the visited blocks' logits, float32, minus infinity at the kept entries.
    """

    rows_E: Tensor
    ids_E: Tensor
    logits_E: Tensor
    blocks_M: Tensor
    rest_MW: Tensor


def block_width(vocabulary: int, capture: Capture) -> int:
    """W: the widest power of two up to 128 that leaves at least `top_k` blocks.

    Twelve times as many where exactly `top_k` entries are kept. With `min_prob` the bound is higher
    and few blocks reach it.
    """
    least = capture.top_k * (_BLOCKS_PER_ENTRY if capture.min_prob is None else 1)
    width = _WIDEST
    while width > 1 and -(-vocabulary // width) < least:
        width //= 2
    return width


def select(logits_NBW: Tensor, maxima_NB: Tensor, totals_N: Tensor, capture: Capture) -> Selection:
    """Selects by the policy: p ≥ `min_prob`, at most `top_k`, always the most probable entry.

    Args:
        logits_NBW: in any dtype, minus infinity beyond the vocabulary.
        maxima_NB: their maxima over a block, float32.
        totals_N: sum of exp(logit − max) over a row, float64.
        capture: the policy.
    """
    largest_N = maxima_NB.amax(-1)
    blocks = maxima_NB.shape[1]
    bound_N = _bound(maxima_NB, largest_N, totals_N, capture)
    blocks_M = (maxima_NB >= bound_N.unsqueeze(-1)).view(-1).nonzero().squeeze(-1)
    rest_MW = logits_NBW.flatten(0, 1).index_select(0, blocks_M).float()
    bound_M = bound_N[blocks_M // blocks]
    visit_C, column_C = (rest_MW >= bound_M.unsqueeze(-1)).nonzero(as_tuple=True)
    logits_C, rows_C = rest_MW[visit_C, column_C], blocks_M[visit_C] // blocks
    order_C, rank_C = _ranked(rows_C, logits_C, len(totals_N))
    keep_C = rank_C < capture.top_k
    if capture.min_prob is not None:
        gaps_C = logits_C[order_C] - largest_N[rows_C[order_C]]
        keep_C &= (rank_C == 0) | (gaps_C.exp() >= capture.min_prob * totals_N[rows_C[order_C]])
    kept_E = order_C[keep_C]
    visit_E, column_E = visit_C[kept_E], column_C[kept_E]
    rest_MW[visit_E, column_E] = -torch.inf
    return Selection(
        rows_E=rows_C[kept_E],
        ids_E=(blocks_M[visit_E] % blocks) * rest_MW.shape[1] + column_E,
        logits_E=logits_C[kept_E],
        blocks_M=blocks_M,
        rest_MW=rest_MW,
    )


def _bound(maxima_NB: Tensor, largest_N: Tensor, totals_N: Tensor, capture: Capture) -> Tensor:
    """[N] no kept entry's logit is smaller than this."""
    bound_N = maxima_NB.topk(capture.top_k, sorted=False).values.amin(-1)
    if capture.min_prob is None:
        return bound_N
    gap_N = (capture.min_prob * totals_N).log().float() - _MARGIN
    return torch.maximum(bound_N, largest_N + gap_N.clamp(max=0))


def _ranked(rows_C: Tensor, logits_C: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """The order by row and falling logit, and every entry's rank in its row.

    Candidates come in order of row and id, and both sorts are stable: ties go to the lowest id.
    """
    order_C = logits_C.sort(descending=True, stable=True).indices
    order_C = order_C[rows_C[order_C].sort(stable=True).indices]
    counts_N = torch.bincount(rows_C, minlength=rows)
    first_N = counts_N.cumsum(0) - counts_N
    position_C = torch.arange(len(rows_C), device=rows_C.device)
    return order_C, position_C - first_N[rows_C[order_C]]
