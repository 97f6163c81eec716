"""Which rows of a dump are read: a part of the settings of `train` and `evaluate`. No torch."""

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from schemas.errors import ConfigError

Verdict = Literal["correct", "wrong", "unverified"]


class RowSettings(BaseModel):
    """What a row must be to be read; by default every row is."""

    sources: list[str] = Field(
        [],
        description="Only rows of these sources, names or quoted patterns such as 'web/*'; a "
        "dump's card names its sources.",
    )
    with_segments: list[str] = Field(
        [],
        description="Only rows that have a segment of each of these kinds, such as rationale.",
    )
    verdicts: list[Verdict] = Field(
        [],
        description="Only rows whose answer was found correct or wrong, or that were not verified.",
    )
    min_tokens: int | None = Field(
        None, ge=1, description="Only sequences of at least so many tokens."
    )
    max_tokens: int | None = Field(
        None, ge=1, description="Only sequences of at most so many tokens."
    )

    @model_validator(mode="after")
    def _some_length(self) -> Self:
        least, most = self.min_tokens, self.max_tokens
        if least is not None and most is not None and least > most:
            raise ConfigError(
                f"min_tokens {least} is more than max_tokens {most}: no sequence is both. Correct "
                "one of them."
            )
        return self
