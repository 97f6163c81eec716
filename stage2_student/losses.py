"""Every loss that reads the student's output head, on one screen.

A loss is a pure function of what both models say at N positions (`signals.py`), differentiated by
ordinary autograd; the fused head does the rest. To add one: one file `loss_<name>.py` with the
formula and its source, one entry here, its dense twin in the tests, one line in the docs' table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from stage2_student.loss_ce import cross_entropy
from stage2_student.loss_fkl import forward_kl
from stage2_student.loss_jsd import jensen_shannon
from stage2_student.loss_logit_mse import logit_mse
from stage2_student.loss_rkl import reverse_kl
from stage2_student.loss_skew_fkl import skewed_forward_kl
from stage2_student.loss_skew_rkl import skewed_reverse_kl
from stage2_student.loss_tvd import total_variation
from stage2_student.outcomes import Tail

_BUCKET = frozenset[Tail]({"bucket"})
_BUCKET_AND_SAMPLE = frozenset[Tail]({"bucket", "sample"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A number that a loss takes: its default, and the open range that it must lie in."""

    default: float
    low: float = 0.0
    high: float = 1.0
    low_included: bool = False

    def allows(self, value: float) -> bool:
        """Whether a value lies in the range."""
        return self.low < value < self.high or (self.low_included and value == self.low)

    @property
    def range(self) -> str:
        """The range in words."""
        low = f"from {self.low:g}" if self.low_included else f"above {self.low:g}"
        return f"{low} and below {self.high:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One loss.

    Attributes:
        compute: (teacher, student, treatment of the tail, **arguments) → [N] loss per position.
        arguments: what it takes, by name.
        tail: the treatment of the tail that serves it best; `none` for a loss without a teacher.
        tail_mass_with: the treatments with which it reads the student's whole tail mass.
        outside: `none` as its tail rewards mass outside the kept entries.
    """

    compute: Callable[..., torch.Tensor]
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    tail: Tail = "sample"
    tail_mass_with: frozenset[Tail] = _BUCKET
    outside: bool = False

    @property
    def soft(self) -> bool:
        """Whether it compares two distributions, and so has a temperature and a tail."""
        return self.tail != "none"


LOSSES: dict[str, Loss] = {
    "fkl": Loss(compute=forward_kl),
    "rkl": Loss(compute=reverse_kl, tail="bucket", tail_mass_with=_BUCKET_AND_SAMPLE, outside=True),
    "jsd": Loss(
        compute=jensen_shannon,
        arguments={"beta": Argument(default=0.5)},
        tail_mass_with=_BUCKET_AND_SAMPLE,
    ),
    "skew_fkl": Loss(compute=skewed_forward_kl, arguments={"alpha": Argument(default=0.1)}),
    "skew_rkl": Loss(
        compute=skewed_reverse_kl,
        arguments={"alpha": Argument(default=0.1)},
        tail_mass_with=_BUCKET_AND_SAMPLE,
        outside=True,
    ),
    "tvd": Loss(compute=total_variation, tail_mass_with=_BUCKET_AND_SAMPLE),
    "logit_mse": Loss(compute=logit_mse),
    "ce": Loss(
        compute=cross_entropy,
        arguments={"smoothing": Argument(default=0.0, low_included=True)},
        tail="none",
    ),
}
