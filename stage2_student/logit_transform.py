"""What some architectures do to the output of their head: scaling and soft-capping.

logit = c · tanh(s · raw / c)      with s = scale, c = softcap (absent: logit = s · raw)
"""

from dataclasses import dataclass
from typing import Any

import torch

_SCALES = (
    ("logit_scale", "cohere", 1),
    ("lm_head_multiplier", "falcon_h1", 1),
    ("output_multiplier", "muse_glimmer", 1),
    ("logits_scaling", "hyperclovax", 1),
    ("logits_scaling", "granite", -1),
)
"""(key of the configuration, family of architectures, power): the key alone says too little, since
`logits_scaling` multiplies in one family and divides in another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitTransform:
    """Scale, then softcap; the default changes nothing."""

    scale: float = 1.0
    softcap: float | None = None

    def cap_(self, scaled: torch.Tensor) -> torch.Tensor:
        """Soft-caps already scaled logits in place."""
        if self.softcap is None:
            return scaled
        return scaled.div_(self.softcap).tanh_().mul_(self.softcap)

    def uncap_gradient_(self, gradient: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """In place from d/d logits to d/d scaled, times 1 − (logit / c)²; spoils `logits`."""
        if self.softcap is None:
            return gradient
        slope = logits.div_(self.softcap).square_().neg_().add_(1)
        return gradient.mul_(slope)


def logit_transform(config: Any) -> LogitTransform:
    """Reads the transform out of a transformers configuration (of the text model)."""
    scale = 1.0
    for key, family, power in _SCALES:
        value = getattr(config, key, None)
        if value is not None and str(config.model_type).startswith(family):
            scale *= float(value) ** power
    return LogitTransform(scale=scale, softcap=getattr(config, "final_logit_softcapping", None))
