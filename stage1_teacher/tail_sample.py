"""Systematic draws from outside the kept entries, through the block sums of the log-sum-exp pass.

A position with tail mass m gets the points (u + i)/S, i = 0, 1, …, that lie below m. Walking the
entries that are not kept in order of their ids, each point takes the first entry at which the
cumulative probability exceeds it: first the block of columns, then the entry in it. An entry of
probability p is drawn S·p times on average over u, so a draw weighs 1/S and the sum over draws is
unbiased.

Shapes: N rows, B blocks of W columns each, S draws over all rows.
"""

import torch
from torch import Tensor


def draw_tail(
    weights_NBW: Tensor, sums_NB: Tensor, totals_N: Tensor, offsets_N: Tensor, samples: int
) -> tuple[Tensor, Tensor]:
    """Draws `samples` times per unit of probability.

    Args:
        weights_NBW: exp(logit − max), 0 at the kept entries.
        sums_NB: their sums over the columns of a block.
        totals_N: the same summed over a row, kept entries included, float64.
        offsets_N: u in [0, 1), float64.
        samples: draws per unit of probability.

    Returns:
        Row and column of every draw, ordered by row, then by column.
    """
    masses_N = sums_NB.sum(-1, dtype=torch.float64)
    rows_S, points_S = tail_points(masses_N, totals_N, offsets_N, samples)
    return rows_S, entries_at(weights_NBW, sums_NB, rows_S, points_S)


def tail_points(
    masses_N: Tensor, totals_N: Tensor, offsets_N: Tensor, samples: int
) -> tuple[Tensor, Tensor]:
    """Row of every point below a row's mass, and the point in units of the weights."""
    counts_N = (samples * masses_N / totals_N - offsets_N).ceil().clamp(min=0).long()
    rows_S = torch.repeat_interleave(counts_N)
    firsts_N = counts_N.cumsum(0) - counts_N
    index_S = torch.arange(len(rows_S), device=rows_S.device) - firsts_N[rows_S]
    return rows_S, (offsets_N[rows_S] + index_S) / samples * totals_N[rows_S]


def entries_at(weights_NBW: Tensor, sums_NB: Tensor, rows_S: Tensor, points_S: Tensor) -> Tensor:
    """Column of the first entry at which the cumulative weight exceeds the point."""
    cumulative_NB = sums_NB.double().cumsum(-1)
    blocks_S = first_above(cumulative_NB, rows_S, points_S)
    before_S = cumulative_NB[rows_S, blocks_S] - sums_NB[rows_S, blocks_S]
    inside_SW = weights_NBW[rows_S, blocks_S].double().cumsum(-1)
    # rounding may put a point just outside its block: it takes the first or the last entry drawable
    above_SW = inside_SW > (points_S - before_S).clamp(min=0).unsqueeze(-1)
    above_SW |= inside_SW >= inside_SW[:, -1:]
    return blocks_S * weights_NBW.shape[-1] + above_SW.int().argmax(-1)


def first_above(cumulative_NB: Tensor, rows_S: Tensor, points_S: Tensor) -> Tensor:
    """Per point its row's first block whose cumulative sum exceeds it, or the last not empty.

    One search in all rows at once: rows are scaled to [0, 1] and set 2 apart.
    """
    count, blocks = cumulative_NB.shape
    scale_N = cumulative_NB[:, -1].clamp(min=torch.finfo(torch.float64).tiny)
    shift_N = 2 * torch.arange(count, device=rows_S.device, dtype=torch.float64)
    sorted_NB = cumulative_NB / scale_N.unsqueeze(-1) + shift_N.unsqueeze(-1)
    sought_S = points_S / scale_N[rows_S] + shift_N[rows_S]
    found_S = torch.searchsorted(sorted_NB.view(-1), sought_S, right=True) - rows_S * blocks
    last_N = (cumulative_NB < cumulative_NB[:, -1:]).sum(-1)
    return torch.minimum(found_S, last_N[rows_S])
