"""What a user says about private data: a part of `DumpSettings`. No torch, no presidio."""

from typing import Self

from pydantic import BaseModel, Field, model_validator

from schemas.errors import ConfigError
from schemas.privacy import Privacy

TEXT_FIELDS = ("prompt", "response", "rationale", "answer", "gold", "provenance")
"""Columns that hold running text; `--no-text` leaves all of them out."""

_LABELS = ("verdict", "finish_reason")
DROPPED = ("source", *TEXT_FIELDS, *_LABELS)
HASHED = ("id", "source", *TEXT_FIELDS)


class PrivacySettings(BaseModel):
    """What of the corpus does not go into the dump, or only changed."""

    drop_fields: list[str] = Field(
        [],
        description=f"Fields that are not stored: {', '.join(DROPPED)}.",
    )
    hash_fields: list[str] = Field(
        [],
        description="Fields of which only a hash is stored, the same for the same value: "
        f"{', '.join(HASHED)}. What can be guessed can be found again by trying: drop that.",
    )
    text: bool = Field(
        True,
        description="Store columns with text, and a readable preview. Token ids are stored in any "
        "case, and are text to whoever has the tokenizer.",
    )
    scrub: list[str] = Field(
        [],
        description="Replace what presidio finds in the corpus before the teacher reads it: its "
        "names such as PERSON,EMAIL_ADDRESS, or `all`. Needs potstill[scrub].",
    )
    scrub_model: str | None = Field(
        None,
        min_length=1,
        description="spaCy model by which --scrub finds names and places, such as en_core_web_lg. "
        "Default: none; only what has a pattern is found (addresses, numbers, accounts).",
    )
    scrub_language: str = Field("en", min_length=2, description="The corpus's language.")
    probability_floor: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Store no entry less probable than this, against rare strings that the teacher "
        "has learned by heart. `verify --gold` shows what it costs.",
    )

    @model_validator(mode="after")
    def _known_fields(self) -> Self:
        for option, given, allowed in (
            ("drop_fields", self.drop_fields, DROPPED),
            ("hash_fields", self.hash_fields, HASHED),
        ):
            wrong = [name for name in given if name not in allowed]
            if wrong:
                raise ConfigError(
                    f"{option} takes {', '.join(allowed)}; found {wrong[0]!r}. Token ids cannot be "
                    "left out: use --scrub, or leave such rows out of the corpus."
                )
        both = set(self.drop_fields) & set(self.hash_fields)
        if both:
            raise ConfigError(f"{min(both)} is dropped and hashed. Leave one of them out.")
        if not self.scrub and self.scrub_model is not None:
            raise ConfigError("scrub_model is given, and nothing is scrubbed. Give --scrub, too.")
        return self

    def dropped_fields(self) -> list[str]:
        """All fields that are not stored, ascending."""
        without = () if self.text else TEXT_FIELDS
        return sorted({*self.drop_fields, *without})

    def privacy(self) -> Privacy | None:
        """What the manifest says; None when nothing was changed."""
        found = Privacy(
            dropped=self.dropped_fields(),
            hashed=sorted(set(self.hash_fields) - set(self.dropped_fields())),
            text=self.text,
            scrubbed=sorted(set(self.scrub)),
            scrubber=self._scrubber(),
        )
        return None if found == Privacy() else found

    def _scrubber(self) -> str | None:
        if not self.scrub:
            return None
        from stage1_teacher.scrubbing import scrubber_name

        return scrubber_name(self.scrub_model, self.scrub_language)
