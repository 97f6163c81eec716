"""What every model of a dump's own JSON files is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Sha256 = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Setting = str | int | float | bool | None | list[int]


class Strict(BaseModel):
    """A frozen model that refuses unknown fields, NaN and values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def is_none(value: object) -> bool:
    """For fields younger than the format: left out of JSON, and so of the hashes, where None."""
    return value is None
