"""A teacher's output head: hidden states in, logits out, into memory that is already there.

Shapes: N rows, D hidden width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from schemas.errors import ModelError

_FACTORS = ("logit_scale", "lm_head_multiplier", "output_multiplier")
_DIVIDES = "logits_scaling"
_MULTIPLIES_INSTEAD = "hyperclovax"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputHead:
    """logits = cap(scale · (hidden · weightᵀ + bias)), where cap(x) = softcap · tanh(x / softcap).

    Attributes:
        weight_VD: the head's matrix.
        bias_V: or None.
        scale: Cohere's logit_scale, or one over Granite's logits_scaling.
        softcap: Gemma's final_logit_softcapping, or None.
        dtype: of the logits; None for the weight's. On CUDA a bfloat16 weight can give float32.
    """

    weight_VD: Tensor
    bias_V: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    dtype: torch.dtype | None = None

    @classmethod
    def of(cls, model: Any) -> Self:
        """The head of a transformers model, its transforms read from the configuration.

        Raises:
            ModelError: the head's weight is not an ordinary matrix.
        """
        module = model.get_output_embeddings()
        weight = getattr(module, "weight", None)
        if weight is None or weight.dim() != 2 or not weight.is_floating_point():
            raise ModelError(
                f"the output head of {type(model).__name__} is a {type(module).__name__} without "
                "a plain weight matrix; potstill needs one. Leave the head unquantised."
            )
        config = model.config.get_text_config()
        return cls(
            weight_VD=weight.detach(),
            bias_V=None if module.bias is None else module.bias.detach(),
            scale=_scale(config),
            softcap=getattr(config, "final_logit_softcapping", None),
        )

    @property
    def size(self) -> int:
        """V: the number of logits per position."""
        return self.weight_VD.shape[0]

    @property
    def logits_dtype(self) -> torch.dtype:
        """In which the logits are computed."""
        return self.dtype or self.weight_VD.dtype

    def logits(self, hidden_ND: Tensor, out_NV: Tensor) -> None:
        """Writes the logits of `hidden_ND` to `out_NV`, which is of `logits_dtype`."""
        hidden_ND = hidden_ND.to(self.weight_VD.dtype)
        if self.logits_dtype == self.weight_VD.dtype:
            torch.mm(hidden_ND, self.weight_VD.t(), out=out_NV)
        else:
            torch.mm(hidden_ND, self.weight_VD.t(), out_dtype=self.logits_dtype, out=out_NV)
        if self.bias_V is not None:
            out_NV.add_(self.bias_V)
        if self.scale != 1.0:
            out_NV.mul_(self.scale)
        if self.softcap is not None:
            out_NV.div_(self.softcap).tanh_().mul_(self.softcap)


def _scale(config: Any) -> float:
    scale = 1.0
    for name in _FACTORS:
        scale *= getattr(config, name, None) or 1.0
    divisor = getattr(config, _DIVIDES, None) or 1.0
    return scale * divisor if config.model_type.startswith(_MULTIPLIES_INSTEAD) else scale / divisor
