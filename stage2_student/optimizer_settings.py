"""How a training goes down its loss: a part of `TrainSettings`. No torch."""

from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from schemas.errors import ConfigError

Schedule = Literal["cosine", "wsd", "linear", "constant"]


class OptimizerSettings(BaseModel):
    """AdamW, its learning rate over the steps, and the average of the weights."""

    learning_rate: float | None = Field(
        None,
        gt=0,
        description="Peak learning rate of AdamW. Default: by the student's size, less for one "
        "that is a whole checkpoint; the start says which.",
    )
    schedule: Schedule = Field("cosine", description="How the learning rate goes after warm-up.")
    warmup_steps: int | None = Field(
        None,
        ge=0,
        description="Steps over which the learning rate rises. Default: a twentieth, at most 100.",
    )
    decay_steps: int | None = Field(
        None, ge=1, description="wsd only: steps of the decay at the end. Default: a fifth of all."
    )
    min_lr_ratio: float = Field(
        0.1, ge=0, le=1, description="Learning rate at the end, as a share of the peak."
    )
    weight_decay: float = Field(
        0.1, ge=0, description="Of AdamW, on matrices; not on biases and norms."
    )
    betas: list[float] = Field([0.9, 0.95], description="AdamW's two decay rates.")
    max_grad_norm: float = Field(1.0, ge=0, description="Gradients are clipped to it; 0: never.")
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="The student becomes the moving average of its weights over about 1/(1 - this) "
        "steps, such as 0.99. Default: the weights of the last step.",
    )

    @field_validator("betas")
    @classmethod
    def _two_rates(cls, betas: list[float]) -> list[float]:
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ConfigError(
                f"betas are two numbers from 0 to below 1; found {betas}. "
                "Give for example --betas 0.9,0.95."
            )
        return betas

    @model_validator(mode="after")
    def _decay_of_wsd(self) -> Self:
        if self.decay_steps is not None and self.schedule != "wsd":
            raise ConfigError(
                f"decay_steps belongs to the schedule wsd; found it with {self.schedule}. Give "
                "--schedule wsd, or leave it out."
            )
        return self

    def check_steps(self, steps: int) -> None:
        """Checks the schedule against the length of the training.

        Raises:
            ConfigError: it is longer.
        """
        given = (self.warmup_steps or 0) + (self.decay_steps or 0)
        if given > steps:
            raise ConfigError(
                f"warmup_steps {self.warmup_steps or 0} and decay_steps {self.decay_steps or 0} do "
                f"not fit into {steps} steps. Give fewer, or more --steps."
            )
