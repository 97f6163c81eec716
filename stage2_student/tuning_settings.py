"""Which weights of a student are trained: a part of `TrainSettings`. No torch."""

from typing import Literal

from pydantic import BaseModel, Field

from schemas.errors import ConfigError


class TuningSettings(BaseModel):
    """Parts that stay as they are, and low-rank adapters in place of whole matrices."""

    freeze: list[Literal["embeddings", "head"]] = Field(
        [],
        description="Parts that keep their weights: embeddings, the output head. Where both are "
        "one matrix, either freezes it, and a step saves a third of the head's products.",
    )
    lora_rank: int | None = Field(
        None,
        ge=1,
        description="Train low-rank adapters (LoRA, through peft) of this rank and leave the "
        "student's own weights as they are. Default: all weights are trained.",
    )
    lora_alpha: int | None = Field(
        None,
        ge=1,
        description="What the adapters add is scaled by alpha / rank. Default: twice the rank.",
    )
    lora_targets: list[str] = Field(
        [],
        description="Names of the layers that get adapters, such as q_proj,v_proj. Default: every "
        "linear layer but the head.",
    )
    dora: bool = Field(
        False,
        description="DoRA instead of LoRA: the length of each column is trained apart from its "
        "direction; better at small ranks, slower.",
    )
    keep_adapter: bool = Field(
        False,
        description="The finished student is the adapter alone, to be loaded over --student. "
        "Default: merged into an ordinary model.",
    )

    def check_tuning(self, student: str | None, layers: list[int]) -> None:
        """Checks what is trained against what the student starts from.

        Raises:
            ConfigError: the options contradict each other.
        """
        if self.lora_rank is None:
            self._check_without_rank()
            return
        if student is None:
            raise ConfigError(
                "adapters over random weights cannot learn a language; found lora_rank with "
                "student_config. Give --student, or leave lora_rank out."
            )
        if self.freeze:
            raise ConfigError(
                f"with lora_rank every weight of the student is frozen; found freeze "
                f"{', '.join(self.freeze)} beside it. Leave one of them out."
            )
        if self.keep_adapter and layers:
            raise ConfigError(
                "an adapter is loaded over a checkpoint, and a carved student is none; found "
                "keep_adapter with student_layers. Leave keep_adapter out: the result is merged."
            )

    def _check_without_rank(self) -> None:
        for name in ("lora_alpha", "lora_targets", "dora", "keep_adapter"):
            if getattr(self, name):
                raise ConfigError(
                    f"{name} belongs to adapters; found it without lora_rank. Give for example "
                    "--lora-rank 16, or leave it out."
                )
