"""The teacher's signals of one batch, aligned with the rows of the student's output.

Shapes: N target positions, K kept entries (padded), S tail draws (padded).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """What the teacher said at N positions of a batch.

    A plain object on purpose: FSDP2 casts every floating tensor that it finds in a forward's
    arguments to bf16, also inside dicts and tuples; it does not look into this.

    Attributes:
        rows_N: int64, index b·T + t of each position in the flattened batch; ascending.
        ids_NK: int64 kept ids; 0 where padded.
        logits_NK: float32 logit − max logit; −inf where padded.
        tail_logmass_N: per temperature, float32 log probability outside the kept entries.
        tail_ids_NS: int64 tail draws; 0 where padded.
        tail_logits_NS: float32 logit − max logit of the draws; −inf where padded.
        draws_per_unit: draws per unit of probability (S of the capture policy; 0 for no sample).
        labels_N: int64 realised next token.
        token_logprobs_N: float32, the teacher's log-probability of it.
        weights_N: float32 weight of each position in the loss; means divide by their sum.
    """

    rows_N: torch.Tensor
    ids_NK: torch.Tensor
    logits_NK: torch.Tensor
    tail_logmass_N: dict[float, torch.Tensor]
    tail_ids_NS: torch.Tensor
    tail_logits_NS: torch.Tensor
    draws_per_unit: int
    labels_N: torch.Tensor
    token_logprobs_N: torch.Tensor
    weights_N: torch.Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Targets":
        """The same on another device; accelerate calls this when it moves a batch."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def block(self, rows: slice) -> "Targets":
        """Some of the positions; views, nothing is copied."""
        return self._map(lambda tensor: tensor[rows])

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Targets":
        return Targets(
            rows_N=change(self.rows_N),
            ids_NK=change(self.ids_NK),
            logits_NK=change(self.logits_NK),
            tail_logmass_N={t: change(mass) for t, mass in self.tail_logmass_N.items()},
            tail_ids_NS=change(self.tail_ids_NS),
            tail_logits_NS=change(self.tail_logits_NS),
            draws_per_unit=self.draws_per_unit,
            labels_N=change(self.labels_N),
            token_logprobs_N=change(self.token_logprobs_N),
            weights_N=change(self.weights_N),
        )
