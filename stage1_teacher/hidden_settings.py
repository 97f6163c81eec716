"""What a user can say about hidden states: a part of `DumpSettings`. No torch, no pyarrow."""

from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from schemas.errors import ConfigError
from schemas.hidden_layers import LAYER, sorted_layers


class HiddenSettings(BaseModel):
    """Which hidden states are stored besides the distributions, and how."""

    hidden_layers: list[str] = Field(
        [],
        description="Layers whose hidden states are stored too: 0 is the embeddings, n the output "
        "of layer n before the final norm, last what the head reads (after the final norm).",
    )
    hidden_codec: Literal["int8", "bf16"] = Field(
        "int8",
        description="How hidden states are stored: int8 loses about 1 %, as running the teacher in "
        "bf16 does; bf16 loses nothing of a bf16 teacher and is half as large again.",
    )
    hidden_projection: int | None = Field(
        None,
        ge=1,
        description="Project hidden states to this width by a fixed orthonormal matrix, which is "
        "stored in the dump.",
    )

    @field_validator("hidden_layers")
    @classmethod
    def _layers(cls, layers: list[str]) -> list[str]:
        wrong = [layer for layer in layers if not LAYER.fullmatch(layer)]
        if wrong:
            raise ConfigError(
                f"hidden_layers takes layer numbers and the word last; found {wrong[0]!r}. "
                "Give for example --hidden-layers 10,20,last."
            )
        return sorted_layers(layers)

    @model_validator(mode="after")
    def _needs_layers(self) -> Self:
        if self.hidden_projection is not None and not self.hidden_layers:
            raise ConfigError(
                "hidden_projection is of hidden states, and none are stored. "
                "Give --hidden-layers too, or leave it out."
            )
        return self
