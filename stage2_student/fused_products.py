"""The three matrix products of the fused head, one block of rows at a time.

Shapes: N positions, n positions of one block, V vocabulary, C part of it, D hidden width.

Numbers: bf16 inputs are multiplied in bf16 and everything after that is fp32; fp32 stays fp32, fp64
stays fp64. The weight's gradient is accumulated in fp32 (fp64 for fp64) over the blocks.
"""

from collections.abc import Iterator

import torch

from stage2_student.logit_transform import LogitTransform

_COLUMNS = {"cpu": 4096}
"""Vocabulary entries whose bf16 products are converted at once; on a GPU all of them."""


class HeadProducts:
    """Hidden rows and head weight, lowered to the type they multiply in, and the logits."""

    def __init__(
        self,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        transform: LogitTransform,
        block_rows: int,
    ) -> None:
        self.dtype = product_dtype(hidden_ND, weight_VD)
        self.sum_dtype = torch.promote_types(self.dtype, torch.float32)
        self.hidden_ND = hidden_ND.detach().to(self.dtype)
        self.weight_VD = weight_VD.detach().to(self.dtype)
        self.bias_V = None if bias_V is None else bias_V.detach().to(self.sum_dtype)
        self.transform = transform
        self.block_rows = block_rows
        self._buffers: dict[str, torch.Tensor] = {}

    def logits(self, rows: slice) -> torch.Tensor:
        """[n, V] logits of some rows, scaled and capped, in a buffer that the next call reuses."""
        hidden_nD = self.hidden_ND[rows]
        logits_nV = self.buffer("logits", len(hidden_nD))
        if self.dtype == self.sum_dtype:
            torch.mm(hidden_nD, self.weight_VD.t(), out=logits_nV)
        else:
            for part in self.columns():
                logits_nV[:, part] = torch.mm(hidden_nD, self.weight_VD[part].t())
        if self.bias_V is not None:
            logits_nV.add_(self.bias_V)
        if self.transform.scale != 1:
            logits_nV.mul_(self.transform.scale)
        return self.transform.cap_(logits_nV)

    def buffer(self, name: str, rows: int) -> torch.Tensor:
        """The first rows of a named [block_rows, V] buffer that all blocks of a call share."""
        if name not in self._buffers:
            shape = (self.block_rows, len(self.weight_VD))
            new = torch.empty(shape, dtype=self.sum_dtype, device=self.weight_VD.device)
            self._buffers[name] = new
        return self._buffers[name][:rows]

    def columns(self) -> Iterator[slice]:
        """Parts of the vocabulary whose products are converted while they are in the cache."""
        vocabulary = len(self.weight_VD)
        size = _COLUMNS.get(self.weight_VD.device.type, vocabulary)
        for start in range(0, vocabulary, size):
            yield slice(start, min(start + size, vocabulary))


class HeadGradients:
    """Sums of the gradients, up to `transform.scale`, of those inputs that need one."""

    def __init__(self, head: HeadProducts, wanted: tuple[bool, bool, bool], full_rows: int) -> None:
        device = head.hidden_ND.device
        hidden, weight, bias = wanted
        vocabulary, width = head.weight_VD.shape
        self._head = head
        self._empty = True
        self.hidden_ND: torch.Tensor | None = None
        self.weight_VD: torch.Tensor | None = None
        self.bias_V = torch.zeros(full_rows, dtype=head.sum_dtype, device=device) if bias else None
        if hidden:
            self.hidden_ND = torch.empty_like(head.hidden_ND, dtype=head.sum_dtype)
        if weight:
            shape = (full_rows, width)
            self.weight_VD = torch.empty(shape, dtype=head.sum_dtype, device=device)
            self.weight_VD[vocabulary:].zero_()

    def add(self, rows: slice, gradient_nV: torch.Tensor) -> None:
        """Adds one block's gradient with respect to its scaled logits."""
        if self.bias_V is not None:
            self.bias_V[: gradient_nV.shape[1]] += gradient_nV.sum(dim=0)
        if self._head.dtype == self._head.sum_dtype:
            self._add_products(rows, gradient_nV)
        else:
            self._add_lowered_products(rows, gradient_nV)
        self._empty = False

    def _add_products(self, rows: slice, gradient_nV: torch.Tensor) -> None:
        """The first block writes the weight's gradient and the others add to it in the product."""
        if self.hidden_ND is not None:
            torch.mm(gradient_nV, self._head.weight_VD, out=self.hidden_ND[rows])
        if self.weight_VD is None:
            return
        sum_VD = self.weight_VD[: gradient_nV.shape[1]]
        if self._empty:
            torch.mm(gradient_nV.t(), self._head.hidden_ND[rows], out=sum_VD)
        else:
            sum_VD.addmm_(gradient_nV.t(), self._head.hidden_ND[rows])

    def _add_lowered_products(self, rows: slice, gradient_nV: torch.Tensor) -> None:
        """The same in bf16, where a product must leave bf16 before it is added."""
        head = self._head
        if self.hidden_ND is not None:
            self.hidden_ND[rows] = 0
        for part in head.columns():
            low_nC = gradient_nV[:, part].to(head.dtype)
            if self.hidden_ND is not None:
                self.hidden_ND[rows] += torch.mm(low_nC, head.weight_VD[part])
            if self.weight_VD is not None:
                product_CD = torch.mm(low_nC.t(), head.hidden_ND[rows])
                sum_CD = self.weight_VD[part]
                sum_CD.copy_(product_CD) if self._empty else sum_CD.add_(product_CD)


def product_dtype(hidden: torch.Tensor, weight: torch.Tensor) -> torch.dtype:
    """What to multiply in: autocast's type where that is on, else the wider of the two."""
    kind = hidden.device.type
    dtype = torch.promote_types(hidden.dtype, weight.dtype)
    if torch.is_autocast_enabled(kind) and dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return dtype
