"""Everything a user can say to `potstill augment`: one pydantic model, no torch."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from schemas.errors import ConfigError
from stage1_teacher.vllm_settings import VllmSettings

ENDINGS = (".jsonl", ".jsonl.zst")


class AugmentSettings(VllmSettings):
    """Which teacher writes new prompts, after which seeds, and which of them are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    teacher: str = Field(
        min_length=1, description="The teacher: a model folder or a name on the hub."
    )
    corpus: str = Field(
        min_length=1,
        description="The seeds: a .jsonl, .jsonl.zst, .jsonl.gz or .parquet file, a folder of "
        "them, or a dataset's name on the hub.",
    )
    out: str = Field(
        min_length=1,
        description="The new corpus, a .jsonl or .jsonl.zst file. Run again: it continues.",
    )
    templates: list[str] = Field(
        ["rephrase", "harder", "similar", "other_domain"],
        min_length=1,
        description="How the teacher is asked: rephrase, harder, similar, other_domain, or jinja "
        "files with {{ prompt }} in them.",
    )
    variants: int = Field(
        1, ge=1, description="New prompts that are asked for per seed and template."
    )

    revision: str | None = Field(None, description="The teacher's revision on the hub.")
    engine: str = Field("transformers", description="What runs the teacher.")
    dtype: Literal["float32", "bfloat16"] = Field(
        "bfloat16", description="The teacher's weights and activations."
    )
    device: str = Field("auto", description="Where the teacher runs: auto, cpu, cuda, cuda:1, ….")
    batch_tokens: int = Field(
        8192, ge=2, description="Tokens of one forward pass, padding included."
    )
    trust_remote_code: bool = Field(
        False, description="Run Python code that comes with the teacher. Off unless you read it."
    )
    chat_template: str | None = Field(
        None, description="File with a chat template to use instead of the teacher's own, or none."
    )
    max_length: int | None = Field(
        None,
        ge=2,
        description="Longest question and new prompt together, in tokens. Default: the teacher's "
        "context, at most 2048.",
    )

    sampling_temperature: float = Field(
        0.8, ge=0, le=100, description="Temperature at which tokens are drawn."
    )
    top_p: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Draw from the most probable tokens that together have this probability.",
    )
    max_new_tokens: int = Field(
        512, ge=1, description="Most tokens that the teacher writes; prompts cut by it are dropped."
    )
    max_prompt_tokens: int = Field(
        256, ge=1, description="Longest new prompt in tokens; longer ones are dropped."
    )
    similarity: float = Field(
        0.8,
        ge=0.1,
        le=1,
        description="New prompts that share this much (Jaccard similarity of their 5-letter "
        "pieces) with a seed or an earlier new prompt are dropped.",
    )

    limit: int | None = Field(None, ge=1, description="Read only the corpus's first rows.")
    unit_size: int = Field(
        64, ge=1, description="Seeds after which the work so far is saved: the most a kill loses."
    )
    seed: int = Field(0, ge=0, description="Seed of the draws.")
    split: str = Field("train", description="Split of a dataset from the hub.")
    subset: str | None = Field(None, description="Configuration (subset) of a hub dataset.")
    prompt_column: str | None = Field(
        None,
        description="Column with the prompt. Default: `prompt`, else the first user turn of "
        "`messages`.",
    )
    id_column: str | None = Field(
        None, description="Column with stable ids. Default: `id`; without one a hash of the row."
    )
    source_column: str | None = Field(
        None, description="Column that names a row's slice. Default: `source`."
    )

    @field_validator("out")
    @classmethod
    def _local_file(cls, out: str) -> str:
        if "://" in out or not out.endswith(ENDINGS):
            raise ConfigError(
                f"out must be a local file that ends in {' or '.join(ENDINGS)}; found {out}. "
                "Give for example --out prompts.jsonl.zst."
            )
        return out

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.check_engine(self.engine)
        if self.variants > 1 and self.sampling_temperature == 0:
            raise ConfigError(
                f"variants {self.variants} at sampling_temperature 0 would all be the same. "
                "Raise the temperature, or ask for one."
            )
        return self
