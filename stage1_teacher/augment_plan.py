"""What decides the new prompts of `potstill augment`, and what came of them: files beside them."""

from pydantic import Field

from schemas.manifest import Corpus, Count, Engine, Sha256, Strict, Teacher, Tokenizer


class AugmentPlan(Strict):
    """Everything that decides the outcome; work goes on only where all of it is the same.

    Attributes:
        teacher: who writes.
        engine: what runs it.
        tokenizer: its tokenizer and chat template.
        corpus: the seeds.
        templates: names of the templates in order, and hashes of their texts.
        variants: requests per seed and template.
        temperature: of the draws.
        top_p: of the draws.
        seed: of the draws.
        max_new_tokens: most tokens that the teacher writes.
        max_length: most tokens of question and new prompt.
        max_prompt_tokens: longest new prompt.
        similarity: from which on a new prompt repeats another.
        unit_size: seeds of one part.
    """

    teacher: Teacher
    engine: Engine
    tokenizer: Tokenizer
    corpus: Corpus
    templates: dict[str, Sha256]
    variants: int
    temperature: float
    top_p: float
    seed: int
    max_new_tokens: int
    max_length: int
    max_prompt_tokens: int
    similarity: float
    unit_size: int


class Candidate(Strict):
    """What the teacher wrote for one request; `text` is empty where it was not asked.

    Attributes:
        id: of the row that it may become.
        seed: the seed's id.
        source: the seed's source.
        template: how it was asked for.
        number: which of the variants it is.
        text: the new prompt.
        tokens: of the new prompt.
        rejected: why it is no new prompt whatever the others are, or empty.
    """

    id: str
    seed: str
    source: str
    template: str
    number: int
    text: str
    tokens: int
    rejected: str = ""


class AugmentReport(Strict):
    """What a finished corpus of new prompts came from, and what was left out of it.

    Attributes:
        plan: everything that decided it.
        seeds: rows of the seed corpus.
        asked: requests.
        written: rows of the new corpus.
        written_by_template: the same by template.
        rejected: requests that gave no row, by reason.
        sha256: over the new corpus's file.
        bytes: of that file.
    """

    plan: AugmentPlan
    seeds: Count
    asked: Count
    written: Count
    written_by_template: dict[str, Count]
    rejected: dict[str, Count] = Field(default_factory=dict)
    sha256: Sha256
    bytes: Count
