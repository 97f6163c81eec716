"""The three matrix products of the fused head, one block of rows at a time.

Shapes: N positions, n positions of one block, V vocabulary, D hidden width.

Numbers: bf16 inputs are multiplied in bf16 and everything after that is fp32; fp32 stays fp32, fp64
stays fp64. The weight's gradient is accumulated in fp32 (fp64 for fp64) over the blocks.
"""

from dataclasses import dataclass, field

import torch

from stage2_student.logit_transform import LogitTransform


@dataclass(slots=True, kw_only=True, eq=False)
class Scratch:
    """[rows, V] buffers by name, allocated at their first use and reused for every block."""

    rows: int
    vocabulary: int
    device: torch.device
    _buffers: dict[str, torch.Tensor] = field(default_factory=dict)

    def take(self, name: str, rows: int, dtype: torch.dtype) -> torch.Tensor:
        """The first rows of the named buffer, whatever they hold."""
        if name not in self._buffers:
            shape = (self.rows, self.vocabulary)
            self._buffers[name] = torch.empty(shape, dtype=dtype, device=self.device)
        return self._buffers[name][:rows]


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
        self.scratch = Scratch(rows=block_rows, vocabulary=len(weight_VD), device=weight_VD.device)

    def logits(self, rows: slice) -> torch.Tensor:
        """[n, V] logits of some rows, scaled and capped, in a buffer that the next call reuses."""
        hidden_nD = self.hidden_ND[rows]
        logits_nV = self.buffer("logits", len(hidden_nD))
        if self.dtype == self.sum_dtype:
            torch.mm(hidden_nD, self.weight_VD.t(), out=logits_nV)
        else:
            low_nV = self.scratch.take("low", len(hidden_nD), self.dtype)
            logits_nV.copy_(torch.mm(hidden_nD, self.weight_VD.t(), out=low_nV))
        if self.bias_V is not None:
            logits_nV.add_(self.bias_V)
        if self.transform.scale != 1:
            logits_nV.mul_(self.transform.scale)
        return self.transform.cap_(logits_nV)

    def buffer(self, name: str, rows: int) -> torch.Tensor:
        """A named [n, V] buffer in the type that sums are taken in."""
        return self.scratch.take(name, rows, self.sum_dtype)


class HeadGradients:
    """Sums of the gradients, up to `transform.scale`, of those inputs that need one."""

    def __init__(self, head: HeadProducts, wanted: tuple[bool, bool, bool], full_rows: int) -> None:
        device = head.hidden_ND.device
        hidden, weight, bias = wanted
        vocabulary, width = head.weight_VD.shape
        self._head = head
        self._empty = True
        self.hidden_ND = torch.empty_like(head.hidden_ND) if hidden else None
        self.bias_V = torch.zeros(full_rows, dtype=head.sum_dtype, device=device) if bias else None
        self.weight_VD: torch.Tensor | None = None
        if weight:
            shape = (full_rows, width)
            self.weight_VD = torch.empty(shape, dtype=head.sum_dtype, device=device)
            self.weight_VD[vocabulary:].zero_()

    def add(self, rows: slice, gradient_nV: torch.Tensor) -> None:
        """Adds one block's gradient with respect to its scaled logits."""
        vocabulary = gradient_nV.shape[1]
        if self.bias_V is not None:
            self.bias_V[:vocabulary] += gradient_nV.sum(dim=0)
        low_nV = self._lowered(gradient_nV)
        if self.hidden_ND is not None:
            torch.mm(low_nV, self._head.weight_VD, out=self.hidden_ND[rows])
        if self.weight_VD is not None:
            self._add_weight(self.weight_VD[:vocabulary], low_nV, self._head.hidden_ND[rows])
        self._empty = False

    def _lowered(self, gradient_nV: torch.Tensor) -> torch.Tensor:
        if self._head.dtype == self._head.sum_dtype:
            return gradient_nV
        low_nV = self._head.scratch.take("low", len(gradient_nV), self._head.dtype)
        return low_nV.copy_(gradient_nV)

    def _add_weight(self, sum_VD: torch.Tensor, low_nV: torch.Tensor, low_nD: torch.Tensor) -> None:
        """The first block writes and the others add: no pass to fill with zeros."""
        same = low_nV.dtype == sum_VD.dtype
        if same and self._empty:
            torch.mm(low_nV.t(), low_nD, out=sum_VD)
        elif same:
            sum_VD.addmm_(low_nV.t(), low_nD)
        elif self._empty:
            sum_VD.copy_(torch.mm(low_nV.t(), low_nD))
        else:
            sum_VD.add_(torch.mm(low_nV.t(), low_nD))


def product_dtype(hidden: torch.Tensor, weight: torch.Tensor) -> torch.dtype:
    """What to multiply in: autocast's type where that is on, else the wider of the two."""
    kind = hidden.device.type
    dtype = torch.promote_types(hidden.dtype, weight.dtype)
    if torch.is_autocast_enabled(kind) and dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return dtype
