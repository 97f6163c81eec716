"""How the next token is drawn: by inverse CDF from one uniform number per row.

So a row's draw depends on its own logits and its own number only, and on nothing else in the batch.

Shapes: B rows, V vocabulary.
"""

import torch
from torch import Tensor


def draw_tokens(logits_BV: Tensor, points_B: Tensor, temperature: float, top_p: float) -> Tensor:
    """[B] ids of the drawn tokens.

    The distribution is softmax(logits / temperature), cut to the smallest set of most probable
    tokens whose probability reaches `top_p`; ties at its border go to the lower id. Walking what
    is left, the first token whose cumulative probability exceeds the point is drawn.

    Args:
        logits_BV: float32.
        points_B: uniform in [0, 1), float64.
        temperature: 0 takes the most probable token.
        top_p: 1 for no cut.
    """
    if temperature == 0:
        return logits_BV.argmax(-1)
    scaled_BV = logits_BV / temperature
    if top_p >= 1:
        return _first_above(scaled_BV.softmax(-1), points_B)
    sorted_BV, ids_BV = scaled_BV.sort(dim=-1, descending=True, stable=True)
    shares_BV = sorted_BV.softmax(-1)
    before_BV = shares_BV.cumsum(-1, dtype=torch.float64) - shares_BV
    drawn_B = _first_above(shares_BV.masked_fill(before_BV >= top_p, 0), points_B)
    return ids_BV.gather(1, drawn_B.unsqueeze(-1)).squeeze(-1)


def _first_above(shares_BV: Tensor, points_B: Tensor) -> Tensor:
    cumulative_BV = shares_BV.cumsum(-1, dtype=torch.float64)
    totals_B = cumulative_BV[:, -1]
    below_B = torch.nextafter(totals_B, torch.zeros_like(totals_B))
    sought_B = torch.minimum(points_B * totals_B, below_B)
    return torch.searchsorted(cumulative_BV, sought_B.unsqueeze(-1), right=True).squeeze(-1)
