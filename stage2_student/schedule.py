"""The learning rate over the steps, as a factor of the peak; pure arithmetic, no torch.

With n steps, w of warm-up and r = min_lr_ratio, at step s (from 0):

    s < w        (s + 1) / w
    cosine       r + (1 − r) · (1 + cos πx) / 2          x = (s − w) / (n − w)
    linear       r + (1 − r) · (1 − x)
    constant     1
    wsd          1, and over the last d steps r + (1 − r) · (1 − √x), x = (s − n + d) / d

wsd: warm-up, stable, decay (Hu et al. 2024, arXiv:2404.06395); the shape 1 − √x of its decay is
from Hägele et al. 2024, arXiv:2405.18392.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from schemas.errors import ConfigError
from stage2_student.optimizer_settings import Schedule
from stage2_student.peak_rate import peak_rate
from stage2_student.settings import TrainSettings

DECAY_SHARE = 1 / 5
"""Of a training: the decay of wsd, unless it is given."""
_WARMUP_SHARE = 1 / 20
_LONGEST_WARMUP = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRate:
    """A schedule; called with a step it gives the factor of the peak learning rate.

    Attributes:
        peak: the learning rate that the factor is of.
        schedule: its shape after warm-up.
        steps: n, of the whole training.
        warmup: w.
        decay: d; used by wsd only.
        floor: r.
    """

    peak: float
    schedule: Schedule
    steps: int
    warmup: int
    decay: int
    floor: float

    def __call__(self, step: int) -> float:
        """The factor at a step from 0; after the last step that of the last."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        rest = max(1, self.steps - self.warmup)
        start, length = (self.steps - self.decay, self.decay) if self._wsd else (self.warmup, rest)
        progress = min(1.0, max(0.0, (step - start) / max(1, length)))
        return self.floor + (1 - self.floor) * SHAPES[self.schedule](progress)

    @property
    def _wsd(self) -> bool:
        return self.schedule == "wsd"


SHAPES: dict[Schedule, Callable[[float], float]] = {
    "cosine": lambda x: (1 + math.cos(math.pi * x)) / 2,
    "linear": lambda x: 1 - x,
    "constant": lambda x: 1.0,
    "wsd": lambda x: 1 - math.sqrt(x),
}
"""What is left of the way down, from 1 at x = 0 to 0 at x = 1."""


def learning_rate(settings: TrainSettings, steps: int, parameters: int) -> LearningRate:
    """The schedule of a training of `steps` steps, for a student of so many parameters.

    Raises:
        ConfigError: warm-up and decay are longer than the training.
    """
    warmup = settings.warmup_steps
    if warmup is None:
        warmup = min(_LONGEST_WARMUP, math.ceil(_WARMUP_SHARE * steps))
    needed = warmup + (settings.decay_steps or 0)
    if needed > steps:
        raise ConfigError(
            f"warm-up and decay need {needed} steps and the training has {steps}. Give fewer "
            "--warmup-steps, or more --steps or --epochs."
        )
    decay = settings.decay_steps or math.ceil(DECAY_SHARE * steps)
    kept = settings.student is not None and not settings.student_layers
    whole = kept and settings.lora_rank is None
    return LearningRate(
        peak=settings.learning_rate or peak_rate(parameters, whole),
        schedule=settings.schedule,
        steps=steps,
        warmup=warmup,
        decay=min(decay, steps - warmup),
        floor=settings.min_lr_ratio,
    )
