"""What a dump says about private data: a part of its manifest."""

from pydantic import Field

from schemas.strict_model import Strict


class Privacy(Strict):
    """What of the corpus did not go into a dump, or only changed.

    Of `hashed` fields a hash is stored. Without `text` there are no columns of text and no preview.
    `scrubbed` are kinds of personal data, in presidio's words, that `scrubber` replaced before the
    teacher read the corpus.
    """

    dropped: list[str] = Field(default_factory=list)
    hashed: list[str] = Field(default_factory=list)
    text: bool = True
    scrubbed: list[str] = Field(default_factory=list)
    scrubber: str | None = None
