"""The student's output head and a loss on it in one operator, in blocks of rows.

Never is a tensor over all positions and the whole vocabulary alive: per block the logits are made,
turned into the few numbers that a loss needs, and overwritten by the loss's gradient, which goes
into the gradients of hidden states and weight at once. The backward pass only scales them. Three
matrix products in all, as many as without fusing. First derivatives only.

Source of the idea: gradients in the forward pass, as in Liger Kernel's fused linear cross-entropy
(Hsu et al. 2024, arXiv:2410.10989); sums and tails as in `fused_softmax.py`.

Shapes: N positions, n positions of one block, V vocabulary, D hidden width, L terms of the loss.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from stage2_student.fused_products import HeadGradients, HeadProducts
from stage2_student.fused_softmax import BlockSoftmax, Sums, places_of
from stage2_student.logit_transform import LogitTransform
from stage2_student.signals import StudentSignals
from stage2_student.targets import Targets

BlockLoss = Callable[[Targets, Mapping[float, StudentSignals]], tuple[torch.Tensor, torch.Tensor]]
"""(targets of a block, the student per temperature) → (sum to minimise, [L] sums to log)."""

_BLOCK_ROWS = {"cpu": 512, "cuda": 4096}
"""Measured on a CPU: 256 to 1024 rows cost the same, fewer starve the product, more lose to page
faults. On a GPU the weight's gradient is read and written once per block: 4096 keep that at 8 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOptions:
    """How the head is computed; the defaults suit a plain head as wide as the teacher's.

    Attributes:
        transform: what the student's architecture does to its logits.
        vocabulary: width of the teacher's head; the student's logits beyond it count as −inf.
        block_rows: rows per block; None takes a default for the device.
    """

    transform: LogitTransform = field(default_factory=LogitTransform)
    vocabulary: int | None = None
    block_rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadCall:
    """What one call of the operator computes: on which targets, which sums at which temperature.

    Attributes:
        targets: what the teacher said.
        sums: per temperature, ascending, what is needed besides the log-probabilities.
        options: how.
    """

    targets: Targets
    sums: Mapping[float, Sums]
    options: HeadOptions


def fused_loss(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    bias_V: torch.Tensor | None,
    call: HeadCall,
    loss: BlockLoss,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum to minimise, differentiable by hidden states, weight and bias; [L] sums to log)."""
    inputs: tuple[torch.Tensor | None, ...] = (hidden_ND, weight_VD, bias_V)
    if not torch.is_grad_enabled():  # `ctx.needs_input_grad` does not know of it
        inputs = tuple(None if tensor is None else tensor.detach() for tensor in inputs)
    result: tuple[torch.Tensor, torch.Tensor] = _FusedHead.apply(*inputs, call, loss)  # type: ignore[no-untyped-call]
    return result


class _FusedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        call: HeadCall,
        loss: BlockLoss,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        wanted = ctx.needs_input_grad[:3]
        head = make_products(hidden_ND, weight_VD, bias_V, call.options)
        gradients = HeadGradients(head, wanted, len(weight_VD)) if any(wanted) else None
        with torch.autocast(hidden_ND.device.type, enabled=False):
            total, terms = _sum_blocks(head, call, loss, gradients)
        if gradients is not None:
            ctx.save_for_backward(gradients.hidden_ND, gradients.weight_VD, gradients.bias_V)
            ctx.dtypes = [None if t is None else t.dtype for t in (hidden_ND, weight_VD, bias_V)]
            ctx.scale = call.options.transform.scale
        ctx.mark_non_differentiable(terms)
        return total, terms

    @staticmethod
    def backward(ctx: Any, of_total: torch.Tensor, of_terms: torch.Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("the fused head has first derivatives only: no create_graph=True")
        factor = of_total * ctx.scale
        scaled = [
            None if gradient is None else _times(gradient, factor, dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*scaled, None, None)


def _times(gradient: torch.Tensor, factor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Gradient · factor in the type of the input that it belongs to, without a copy in between."""
    return torch.mul(gradient, factor, out=torch.empty_like(gradient, dtype=dtype))


def make_products(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    bias_V: torch.Tensor | None,
    options: HeadOptions,
) -> HeadProducts:
    """The head cut to the teacher's vocabulary: what lies beyond gets −inf by being left out."""
    cut = slice(options.vocabulary)
    bias = None if bias_V is None else bias_V[cut]
    rows = block_size(len(hidden_ND), options.block_rows, hidden_ND.device)
    return HeadProducts(hidden_ND, weight_VD[cut], bias, options.transform, rows)


def block_size(rows: int, block_rows: int | None, device: torch.device) -> int:
    """Rows per block, evened out so that no small block is left over."""
    most = block_rows or _BLOCK_ROWS.get(device.type, _BLOCK_ROWS["cuda"])
    blocks = max(1, -(-rows // most))
    return max(1, -(-rows // blocks))


def blocks_of(rows: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` rows; an empty one where there are no rows."""
    for start in range(0, max(rows, 1), size):
        yield slice(start, min(start + size, rows))


def block_softmaxes(
    head: HeadProducts, logits_nV: torch.Tensor, block: Targets, call: HeadCall
) -> dict[float, BlockSoftmax]:
    """The student's softmax at each temperature; the last one goes where the logits were.

    A softcap's derivative needs the logits, so with one they stay.
    """
    places = places_of(block)
    softmaxes = {}
    for number, (temperature, sums) in enumerate(call.sums.items(), 1):
        last = number == len(call.sums) and head.transform.softcap is None
        scaled_nV = logits_nV
        if not last:
            scaled_nV = head.buffer(f"softmax {temperature}", len(logits_nV))
        if not last or temperature != 1:
            torch.div(logits_nV, temperature, out=scaled_nV)
        softmaxes[temperature] = BlockSoftmax(scaled_nV, places, temperature, sums)
    return softmaxes


def _sum_blocks(
    head: HeadProducts, call: HeadCall, loss: BlockLoss, gradients: HeadGradients | None
) -> tuple[torch.Tensor, torch.Tensor]:
    totals, terms = [], []
    for rows in blocks_of(len(head.hidden_ND), head.block_rows):
        block = call.targets.block(rows)
        logits_nV = head.logits(rows)
        softmaxes = block_softmaxes(head, logits_nV, block, call)
        with torch.set_grad_enabled(gradients is not None):
            signals = {t: s.signals(gradients is not None) for t, s in softmaxes.items()}
            total, parts = loss(block, signals)
        if gradients is not None:
            total.backward()  # type: ignore[no-untyped-call]
            gradients.add(rows, _gradient(head, logits_nV, softmaxes, signals))
        totals.append(total.detach())
        terms.append(parts.detach())
    return torch.stack(totals).sum(), torch.stack(terms).sum(dim=0)


def _gradient(
    head: HeadProducts,
    logits_nV: torch.Tensor,
    softmaxes: Mapping[float, BlockSoftmax],
    signals: Mapping[float, StudentSignals],
) -> torch.Tensor:
    """[n, V] the loss's gradient with respect to the scaled logits, over all temperatures."""
    first, *others = (softmax.gradient_(signals[t]) for t, softmax in softmaxes.items())
    for other_nV in others:
        first.add_(other_nV)
    return head.transform.uncap_gradient_(first, logits_nV)
