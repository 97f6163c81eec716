"""From hidden states to what is kept of the teacher's distributions, beside the model.

Rows go through the head in blocks, and a block is reduced a few rows at a time, in buffers that are
allocated once: no [positions × vocabulary] tensor ever exists, and memory does not depend on the
batch. Sums are float32 over blocks of columns and float64 over blocks. Per row there is one head
product, one pass of exponentials for every temperature but 1 (which is 2's, squared), and a visit
to the few blocks of columns that hold what is kept or drawn.

Shapes: N rows, D hidden width, V vocabulary, B blocks of W columns each (V rounded up to B·W),
T temperatures, E kept entries, S draws.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from schemas.errors import ConfigError, ModelError
from schemas.manifest import Capture
from stage1_teacher.output_head import OutputHead
from stage1_teacher.selection import Selection, block_width, select
from stage1_teacher.tail_sample import draw_tail

_LOG2E = math.log2(math.e)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRows:
    """Rows of one head product, and rows of it that are reduced in float32 at once."""

    head: int
    reduced: int


BLOCK_ROWS = {"cpu": BlockRows(head=256, reduced=32), "cuda": BlockRows(head=4096, reduced=512)}
"""A CPU reduces what stays in its cache; a GPU wants long rows of work and few launches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """What is kept of N rows, on the device.

    Attributes:
        kept: rows, ids and logit − max of the kept entries.
        drawn: rows, ids and logit − max of the tail draws.
        tails_NT: sum of exp((logit − max)/T) outside the kept entries, float64.
        largest_N: the largest logit.
        token_logprobs_N: log-probability of the realised next token at temperature 1.
    """

    kept: tuple[Tensor, Tensor, Tensor]
    drawn: tuple[Tensor, Tensor, Tensor]
    tails_NT: Tensor
    largest_N: Tensor
    token_logprobs_N: Tensor


class Reduction:
    """Reduces rows of hidden states by one capture policy, in buffers of its own."""

    def __init__(self, head: OutputHead, capture: Capture, rows: BlockRows | None = None) -> None:
        """Allocates the buffers.

        Raises:
            ConfigError: `top_k` is above the vocabulary.
        """
        if capture.top_k > head.size:
            raise ConfigError(
                f"top_k {capture.top_k} is above the teacher's vocabulary of {head.size}. "
                f"Give --top-k {head.size} or less."
            )
        weight = head.weight_VD
        self._head, self._capture = head, capture
        self._rows = rows or BLOCK_ROWS.get(weight.device.type, BLOCK_ROWS["cuda"])
        self._width = block_width(head.size, capture.top_k)
        padded = -(-head.size // self._width) * self._width
        self._logits = weight.new_full((self._rows.head, padded), -torch.inf)
        self._weights = weight.new_zeros((self._rows.reduced, padded), dtype=torch.float32)

    @property
    def buffer_bytes(self) -> int:
        """Memory of the block buffers."""
        return sum(b.numel() * b.element_size() for b in (self._logits, self._weights))

    def __call__(
        self, hidden_ND: Tensor, next_ids_N: Tensor, offsets_N: Tensor
    ) -> Iterator[Reduced]:
        """Yields what is kept, a few rows at a time, in order.

        Args:
            hidden_ND: the head's input at the captured positions.
            next_ids_N: the realised next tokens.
            offsets_N: the offsets of the tail draws, float64.
        """
        for start in range(0, len(hidden_ND), self._rows.head):
            hidden = hidden_ND[start : start + self._rows.head]
            block = self._logits[: len(hidden)]
            self._head.logits(hidden, block[:, : self._head.size])
            for low in range(0, len(hidden), self._rows.reduced):
                part = block[low : low + self._rows.reduced]
                span = slice(start + low, start + low + len(part))
                yield self._reduce(part, next_ids_N[span], offsets_N[span])

    def _reduce(self, logits_NV: Tensor, next_ids_N: Tensor, offsets_N: Tensor) -> Reduced:
        weights = self._weights[: len(logits_NV)]
        maxima_NB = self._blocks(weights.copy_(logits_NV)).amax(-1)
        largest_N = maxima_NB.amax(-1)
        sums = self._sums(logits_NV, largest_N, weights)
        totals_N = sums[1.0].sum(-1, dtype=torch.float64)
        _check_finite(totals_N)
        chosen = select(self._blocks(logits_NV), maxima_NB, totals_N, self._capture)
        self._take_out(chosen, largest_N, sums, weights)
        drawn = draw_tail(
            self._blocks(weights), sums[1.0], totals_N, offsets_N, self._capture.tail_samples
        )
        return Reduced(
            kept=(chosen.rows_E, chosen.ids_E, chosen.logits_E - largest_N[chosen.rows_E]),
            drawn=(*drawn, logits_NV[drawn].float() - largest_N[drawn[0]]),
            tails_NT=self._tails(sums),
            largest_N=largest_N,
            token_logprobs_N=_at(logits_NV, next_ids_N) - largest_N - totals_N.log(),
        )

    def _blocks(self, rows_NV: Tensor) -> Tensor:
        return rows_NV.view(len(rows_NV), -1, self._width)

    def _sums(self, logits_NV: Tensor, largest_N: Tensor, weights: Tensor) -> dict[float, Tensor]:
        """[N, B] sums per temperature; leaves exp(logit − max) in `weights`."""
        sums = {}
        temperatures = self._capture.temperatures
        # 2 last: squaring its exponentials is cheaper than taking those of 1
        for temperature in sorted({*temperatures} - {1.0}, key=lambda t: (t == 2.0, t)):
            self._exponentials(logits_NV, largest_N, temperature, weights)
            sums[temperature] = self._blocks(weights).sum(-1)
        if 2.0 in sums:
            weights.square_()
        else:
            self._exponentials(logits_NV, largest_N, 1.0, weights)
        return sums | {1.0: self._blocks(weights).sum(-1)}

    def _exponentials(
        self, logits_NV: Tensor, largest_N: Tensor, temperature: float, out: Tensor
    ) -> None:
        """exp((logit − max)/T); as a power of two it takes a third of the time on a CPU."""
        out.copy_(logits_NV).sub_(largest_N.unsqueeze(-1)).mul_(_LOG2E / temperature).exp2_()

    def _take_out(
        self, chosen: Selection, largest_N: Tensor, sums: dict[float, Tensor], weights: Tensor
    ) -> None:
        """Takes the kept entries out of the weights and of all sums.

        Their blocks are summed anew: a tail as the difference of two sums would cancel.
        """
        rows_M = chosen.blocks_M // self._blocks(weights).shape[1]
        gaps_MW = (chosen.rest_MW - largest_N[rows_M].unsqueeze(-1)).mul_(_LOG2E)
        for temperature, sums_NB in sums.items():
            rest_MW = torch.exp2(gaps_MW / temperature)
            sums_NB.view(-1).index_copy_(0, chosen.blocks_M, rest_MW.sum(-1))
            if temperature == 1.0:
                weights.view(-1, self._width).index_copy_(0, chosen.blocks_M, rest_MW)

    def _tails(self, sums: dict[float, Tensor]) -> Tensor:
        columns = [sums[t].sum(-1, dtype=torch.float64) for t in self._capture.temperatures]
        return torch.stack(columns, dim=-1)


def _at(logits_NV: Tensor, ids_N: Tensor) -> Tensor:
    return logits_NV.gather(1, ids_N.unsqueeze(-1)).squeeze(-1).float()


def _check_finite(totals_N: Tensor) -> None:
    if not totals_N.isfinite().all():
        raise ModelError(
            "the teacher gave logits that are NaN or infinite. Try --dtype float32; if that does "
            "not help, its weights are damaged."
        )
