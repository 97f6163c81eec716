"""How a teacher wrote responses, and what became of them: parts of manifest.json."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.strict_model import Count, Sha256, Strict


class Generation(Strict):
    """How the teacher wrote responses to the corpus's prompts, and which of them were kept.

    `samples` responses per prompt were drawn at `temperature` (0: the most probable token) from the
    smallest set of tokens whose probability reaches `top_p`, of at most `max_tokens` tokens each.
    `template` names the reasoning template, `template_sha256` is over its text. With `similarity`
    two responses to a prompt are duplicates from that Jaccard similarity of their 5-letter pieces
    on; without it, when they are the same.
    """

    samples: Annotated[int, Field(ge=1)] = 1
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)]
    seed: Count = 0
    stop: list[str] = Field(default_factory=list)
    template: str | None = None
    template_sha256: Sha256 | None = None
    parser: str | None = None
    parser_argument: str | None = None
    verifier: str | None = None
    verifier_argument: str | None = None
    gold_column: str | None = None
    keep: Literal["accepted", "all"] = "all"
    keep_truncated: bool = False
    deduplicate: bool = True
    similarity: Annotated[float, Field(gt=0, le=1)] | None = None


class GenerationCounts(Strict):
    """What became of the responses of a shard.

    Of those `generated`, some were `truncated` by the budget and, unless such are kept, dropped
    there. What went on was `unparsed` (the parser found no answer), or went to the verifier, who
    `accepted` or `rejected` it or found it `unverifiable`; without a verifier, what the parser
    found, or everything where there is no parser, counts as `accepted`. `duplicates` were dropped
    for saying what another response to their prompt said. `kept` are the shard's rows.
    """

    generated: Count = 0
    truncated: Count = 0
    unparsed: Count = 0
    accepted: Count = 0
    rejected: Count = 0
    unverifiable: Count = 0
    duplicates: Count = 0
    kept: Count = 0

    @property
    def acceptance(self) -> float:
        """The share of all responses that were accepted."""
        return self.accepted / max(1, self.generated)
