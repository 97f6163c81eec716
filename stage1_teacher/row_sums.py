"""Sums of exponentials of a few rows of logits, over blocks of columns.

Per row one pass of exponentials for every temperature but 1, which is 2's, squared. Sums are
float32 over the columns of a block and float64 over blocks. Kept entries are taken out by summing
their blocks anew: a tail as the difference of two sums would cancel.

Shapes: N rows, V logits of a row, B blocks of W columns each (V = B·W), T temperatures, M blocks
that hold kept entries.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stage1_teacher.head_rows import FewRows

_LOG2E = math.log2(math.e)


class RowSums:
    """The sums of N rows.

    Attributes:
        logits_NBW: the rows, minus infinity beyond the vocabulary.
        maxima_NB: their largest logits, float32.
        largest_N: the same of a row.
        weights_NBW: exp(logit − max) at temperature 1, float32.
    """

    def __init__(self, rows: FewRows, width: int, temperatures: Sequence[float]) -> None:
        """Sums; the rows' buffer becomes `weights_NBW`."""
        logits_NV, buffer_NV = rows.logits_NV, rows.buffer_NV
        self.logits_NBW = _blocks(logits_NV, width)
        self.weights_NBW = _blocks(buffer_NV, width)
        self.maxima_NB = _blocks(buffer_NV.copy_(logits_NV), width).amax(-1)
        self.largest_N = self.maxima_NB.amax(-1)
        self._temperatures = temperatures
        self._sums = self._all(logits_NV, buffer_NV)

    @property
    def sums_NB(self) -> Tensor:
        """The sums of `weights_NBW` over a block."""
        return self._sums[1.0]

    def totals_N(self) -> Tensor:
        """The sums of `weights_NBW` over a row, float64."""
        return self.sums_NB.sum(-1, dtype=torch.float64)

    def totals_NT(self) -> Tensor:
        """The sums of exp((logit − max)/T) over a row, float64."""
        columns = [self._sums[t].sum(-1, dtype=torch.float64) for t in self._temperatures]
        return torch.stack(columns, dim=-1)

    def replace(self, blocks_M: Tensor, rest_MW: Tensor) -> None:
        """Sums blocks anew, given as row·B + block, as if their logits were `rest_MW`, float32."""
        width = rest_MW.shape[-1]
        rows_M = blocks_M // self.maxima_NB.shape[1]
        gaps_MW = (rest_MW - self.largest_N[rows_M].unsqueeze(-1)).mul_(_LOG2E)
        for temperature, sums_NB in self._sums.items():
            weights_MW = torch.exp2(gaps_MW / temperature)
            sums_NB.view(-1).index_copy_(0, blocks_M, weights_MW.sum(-1))
            if temperature == 1.0:
                self.weights_NBW.view(-1, width).index_copy_(0, blocks_M, weights_MW)

    def _all(self, logits_NV: Tensor, buffer_NV: Tensor) -> dict[float, Tensor]:
        """[N, B] sums per temperature; leaves exp(logit − max) in the buffer."""
        sums = {}
        # 2 last: squaring its exponentials is cheaper than taking those of 1
        for temperature in sorted({*self._temperatures} - {1.0}, key=lambda t: (t == 2.0, t)):
            self._exponentials(logits_NV, temperature, buffer_NV)
            sums[temperature] = self.weights_NBW.sum(-1)
        if 2.0 in sums:
            buffer_NV.square_()
        else:
            self._exponentials(logits_NV, 1.0, buffer_NV)
        return sums | {1.0: self.weights_NBW.sum(-1)}

    def _exponentials(self, logits_NV: Tensor, temperature: float, out_NV: Tensor) -> None:
        """exp((logit − max)/T); as a power of two it takes a third of the time on a CPU."""
        largest_N1 = self.largest_N.unsqueeze(-1)
        out_NV.copy_(logits_NV).sub_(largest_N1).mul_(_LOG2E / temperature).exp2_()


def _blocks(rows_NV: Tensor, width: int) -> Tensor:
    return rows_NV.view(len(rows_NV), -1, width)
