"""From hidden states to what is kept of the teacher's distributions, beside the model.

Rows go through the head in blocks, and a block is reduced a few rows at a time, in buffers that are
allocated once: no [positions × vocabulary] tensor ever exists, and memory does not depend on the
batch. Per row there is one head product, the sums of `row_sums`, and a visit to the few blocks of
columns that hold what is kept or drawn.

Shapes: N rows, D hidden width, V vocabulary, T temperatures, E kept entries, S draws.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from schemas.errors import ConfigError, ModelError
from schemas.manifest import Capture
from stage1_teacher.head_rows import BlockRows, FewRows, HeadRows
from stage1_teacher.output_head import OutputHead
from stage1_teacher.row_sums import RowSums
from stage1_teacher.selection import block_width, select
from stage1_teacher.tail_sample import draw_tail


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
        check_top_k(capture, head.size)
        self._capture = capture
        self._width = block_width(head.size, capture)
        self._rows = HeadRows(head, self._width, rows)

    @property
    def buffer_bytes(self) -> int:
        """Memory of the block buffers."""
        return self._rows.buffer_bytes

    def __call__(
        self, hidden_ND: Tensor, next_ids_N: Tensor, offsets_N: Tensor
    ) -> Iterator[Reduced]:
        """Yields what is kept, a few rows at a time, in order.

        Args:
            hidden_ND: the head's input at the captured positions.
            next_ids_N: the realised next tokens.
            offsets_N: the offsets of the tail draws, float64.

        Raises:
            ModelError: logits are not finite.
        """
        for part in self._rows(hidden_ND):
            yield self._reduce(part, next_ids_N[part.span], offsets_N[part.span])

    def _reduce(self, part: FewRows, next_ids_N: Tensor, offsets_N: Tensor) -> Reduced:
        logits_NV = part.logits_NV
        sums = RowSums(part, self._width, self._capture.temperatures)
        totals_N, largest_N = sums.totals_N(), sums.largest_N
        check_finite(totals_N)
        chosen = select(sums.logits_NBW, sums.maxima_NB, totals_N, self._capture)
        sums.replace(chosen.blocks_M, chosen.rest_MW)
        drawn = draw_tail(
            sums.weights_NBW, sums.sums_NB, totals_N, offsets_N, self._capture.tail_samples
        )
        return Reduced(
            kept=(chosen.rows_E, chosen.ids_E, chosen.logits_E - largest_N[chosen.rows_E]),
            drawn=(*drawn, logits_NV[drawn].float() - largest_N[drawn[0]]),
            tails_NT=sums.totals_NT(),
            largest_N=largest_N,
            token_logprobs_N=_at(logits_NV, next_ids_N) - largest_N - totals_N.log(),
        )


def _at(logits_NV: Tensor, ids_N: Tensor) -> Tensor:
    return logits_NV.gather(1, ids_N.unsqueeze(-1)).squeeze(-1).float()


def check_top_k(capture: Capture, size: int) -> None:
    """Checks a policy against the width of a head.

    Raises:
        ConfigError: `top_k` is above it.
    """
    if capture.top_k > size:
        raise ConfigError(
            f"top_k {capture.top_k} is above the teacher's vocabulary of {size}. "
            f"Give --top-k {size} or less."
        )


def check_finite(totals_N: Tensor) -> None:
    """Checks the sums of exponentials of rows.

    Raises:
        ModelError: one is NaN or infinite.
    """
    if not totals_N.isfinite().all():
        raise ModelError(
            "the teacher gave logits that are NaN or infinite. Try --dtype float32; if that does "
            "not help, its weights are damaged."
        )
