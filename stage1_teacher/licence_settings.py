"""What a user says about licences: a part of `DumpSettings`, and what becomes of it. No torch.

Nobody can use a dump whose licences are not known, and who makes it is the last to know them: so
they are stated, found in the teacher's or the corpus's card, or expressly left open.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from schemas.errors import ConfigError
from schemas.licences import UNKNOWN, is_unknown, known


class LicenceSettings(BaseModel):
    """Under which terms the teacher's outputs and the corpus may be used."""

    teacher_license: str | None = Field(
        None, min_length=1, description="The teacher's licence. Default: read from its model card."
    )
    output_terms: str | None = Field(
        None,
        min_length=1,
        description="Terms of use of the teacher's outputs: a sentence or an address. Default: "
        "those of a well-known licence.",
    )
    corpus_license: str | None = Field(
        None,
        min_length=1,
        description="The corpus's licence. Default: read from its dataset card, for a corpus on "
        "the hub or a folder with a README.md.",
    )
    license: Literal["unknown"] | None = Field(
        None,
        description="`unknown`: go on although a licence or the terms are not known; the dataset "
        "card shows that in bold.",
    )

    def licenses(self, teacher_card: str | None, corpus_card: str | None) -> "Licenses":
        """What is stated here, else by the cards.

        Args:
            teacher_card: the licence in the teacher's model card, where there is one.
            corpus_card: that in the corpus's dataset card.

        Raises:
            ConfigError: something is not known, and nobody said that it may be so.
        """
        found = Licenses(
            teacher=self.teacher_license or teacher_card or UNKNOWN,
            output_terms=self.output_terms,
            corpus=self.corpus_license or corpus_card or UNKNOWN,
        )
        missing = found.missing()
        if missing and self.license is None:
            lines = "".join(f"\n  {line}" for line in missing)
            raise ConfigError(
                f"nobody could use this dump, for its terms are not known:{lines}\n"
                "State them, or give --license unknown: the dataset card will show it in bold."
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Licenses:
    """What a manifest says about licences."""

    teacher: str
    output_terms: str | None
    corpus: str

    def missing(self) -> list[str]:
        """What is not known, each with the option that states it."""
        lines = []
        if is_unknown(self.teacher):
            lines.append("the teacher's licence: it has no model card. --teacher-license NAME")
        elif self.output_terms is None and known(self.teacher) is None:
            lines.append(
                f"what {self.teacher} says of the teacher's outputs. --output-terms SENTENCE, "
                'or "none"'
            )
        if is_unknown(self.corpus):
            lines.append("the corpus's licence: it has no dataset card. --corpus-license NAME")
        return lines
