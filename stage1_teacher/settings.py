"""Everything a user can say to `potstill dump`: one pydantic model, no torch.

The command line, the YAML keys, the environment variables and their documentation are generated
from the fields below, so a field's name is the word that users type.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from schemas.errors import ConfigError, InputError
from schemas.manifest import Capture, Limits
from stage1_teacher.cluster_settings import ClusterSettings
from stage1_teacher.generation_settings import GenerationSettings
from stage1_teacher.hidden_settings import HiddenSettings
from stage1_teacher.licence_settings import LicenceSettings
from stage1_teacher.privacy_settings import PrivacySettings
from stage1_teacher.vllm_settings import VllmSettings

MIN_PROB = 1 / 512
CAP = 64
DEFAULT_MAX_LENGTH = 2048
_ROW_KINDS = ("text_column", "prompt_column", "messages_column")


class DumpSettings(
    GenerationSettings,
    HiddenSettings,
    VllmSettings,
    LicenceSettings,
    PrivacySettings,
    ClusterSettings,
):
    """What to dump, of which teacher, where to, and what to keep."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    teacher: str = Field(
        min_length=1, description="The teacher: a model folder or a name on the hub."
    )
    corpus: str = Field(
        min_length=1,
        description="What the teacher reads: a .jsonl, .jsonl.zst, .jsonl.gz, .parquet or .txt "
        "file, a folder of them, or a dataset's name on the hub.",
    )
    out: str = Field(
        min_length=1,
        description="The dump's folder, or a place in a bucket such as s3://bucket/dump. Run "
        "again: it continues.",
    )
    revision: str | None = Field(None, description="The teacher's revision on the hub.")
    engine: str = Field("transformers", description="What runs the teacher: transformers, or vllm.")
    dtype: Literal["float32", "bfloat16"] = Field(
        "bfloat16", description="The teacher's weights and activations; sums are always float32."
    )
    device: str = Field("auto", description="Where the teacher runs: auto, cpu, cuda, cuda:1, ….")
    batch_tokens: int = Field(
        8192, ge=2, description="Tokens of one forward pass, padding included."
    )
    trust_remote_code: bool = Field(
        False, description="Run Python code that comes with the teacher. Off unless you read it."
    )

    min_prob: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Keep the entries at least this probable. Default 1/512, unless --top-k is "
        "given alone.",
    )
    top_k: int | None = Field(
        None,
        ge=1,
        description="Keep this many entries; together with --min-prob at most this many. "
        "Default: at most 64.",
    )
    tail_samples: int = Field(
        64, ge=0, description="Draws per unit of probability outside the kept entries; 0: none."
    )
    temperatures: list[float] = Field(
        [1.0, 2.0],
        description="Temperatures that training may use: the mass outside the kept entries is "
        "stored at each. 1 is always among them.",
    )
    max_logit: bool = Field(
        False, description="Also store every position's largest logit, for losses on raw logits."
    )
    max_length: int | None = Field(
        None,
        ge=2,
        description="Longest sequence in tokens. Default: the teacher's context, at most 2048.",
    )
    long_texts: Literal["window", "cut"] = Field(
        "window", description="Longer texts are read in windows, or cut at --max-length."
    )
    window_overlap: int = Field(
        0, ge=0, description="Tokens that a window repeats of the one before, as context only."
    )
    limit: int | None = Field(None, ge=1, description="Read only the corpus's first rows.")
    unit_size: int = Field(
        512, ge=1, description="Rows of one work unit: one shard, and the most that a kill loses."
    )
    gold: int = Field(
        0,
        ge=0,
        description="Sequences of a gold sample: their last hidden states and the teacher's output "
        "head, from which `potstill verify --gold` audits the dump. 0: none; 8 are enough.",
    )
    seed: int = Field(
        0, ge=0, description="Seed of the tail sample, and of what the teacher writes."
    )

    split: str = Field("train", description="Split of a dataset from the hub.")
    subset: str | None = Field(None, description="Configuration (subset) of a hub dataset.")
    text_column: str | None = Field(
        None, description="Column with plain text. Default: `text`, where there is one."
    )
    prompt_column: str | None = Field(
        None, description="Column with the prompt. Default: `prompt`, where there is one."
    )
    response_column: str | None = Field(
        None, description="Column with the response. Default: `response`."
    )
    messages_column: str | None = Field(
        None, description="Column with a conversation. Default: `messages`, where there is one."
    )
    id_column: str | None = Field(
        None, description="Column with stable ids. Default: `id`; without one a hash of the row."
    )
    source_column: str | None = Field(
        None, description="Column that names a row's slice. Default: `source`."
    )
    system_prompt: str | None = Field(
        None,
        description="System message put before prompts and conversations that have none; @FILE "
        "takes it from a file.",
    )
    chat_template: str | None = Field(
        None,
        description="File with a chat template to use instead of the teacher's own; `none` for "
        "prompts and responses as plain text.",
    )
    capture_roles: list[str] = Field(
        ["assistant"], description="Roles of a conversation whose tokens carry signals."
    )

    @field_validator("temperatures")
    @classmethod
    def _grid(cls, temperatures: list[float]) -> list[float]:
        wrong = [t for t in temperatures if not 0 < t < float("inf")]
        if wrong:
            raise ConfigError(
                f"temperatures must be positive numbers; found {wrong[0]:g}. "
                "Give for example --temperatures 1,2."
            )
        return sorted({1.0, *temperatures})

    @model_validator(mode="after")
    def _fits_engine(self) -> Self:
        self.check_engine(self.engine)
        return self

    @model_validator(mode="after")
    def _prompts_to_answer(self) -> Self:
        if self.generate and self.text_column is not None:
            raise ConfigError(
                f"text_column {self.text_column} is given, and a text is no prompt to answer. Give "
                "--prompt-column or --messages-column, or leave --generate out."
            )
        if self.generate and self.response_column is not None:
            raise ConfigError(
                f"response_column {self.response_column} is given, and the teacher writes the "
                "responses. Leave out one of --response-column and --generate."
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [name for name in _ROW_KINDS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(
                f"a row is a text, a prompt or a conversation; found {' and '.join(given)}. "
                "Give one of them."
            )
        if self.response_column is not None and given not in ([], ["prompt_column"]):
            raise ConfigError(
                f"response_column belongs to prompt_column; found it with {given[0]}. "
                "Leave one of them out."
            )
        if self.max_length is not None and self.window_overlap >= self.max_length - 1:
            raise ConfigError(
                f"window_overlap must leave room for new tokens: found {self.window_overlap} with "
                f"max_length {self.max_length}. Give at most {self.max_length - 2}."
            )
        return self

    def capture(self) -> Capture:
        """The capture policy that `min_prob`, `top_k` and the rest of the settings mean."""
        optional = [*(["max_logit"] if self.max_logit else []), *self.generation_columns()]
        only_top_k = self.top_k is not None and self.min_prob is None
        least = None if only_top_k else self.min_prob or MIN_PROB
        floor = self.probability_floor
        return Capture(
            min_prob=least if floor is None else max(least or 0.0, floor),
            top_k=self.top_k or CAP,
            tail_samples=self.tail_samples,
            temperatures=self.temperatures,
            optional_columns=[n for n in optional if n not in self.dropped_fields()],
            hidden_layers=self.hidden_layers,
            hidden_codec=self.hidden_codec if self.hidden_layers else None,
            probability_floor=floor,
        )

    def system_message(self) -> str | None:
        """`system_prompt`, read from its file where it names one.

        Raises:
            InputError: the file cannot be read, or is empty.
        """
        given = self.system_prompt
        if given is None or not given.startswith("@"):
            return given
        try:
            text = Path(given[1:]).expanduser().read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"system_prompt: the file {given[1:]} cannot be read: {error}. Give another one."
            ) from error
        if not text:
            raise InputError(f"system_prompt: the file {given[1:]} is empty. Give another one.")
        return text

    def limits(self, context: int | None, head_size: int) -> Limits:
        """The limits, checked against a teacher's context and the width of its output head.

        Raises:
            ConfigError: `max_length` exceeds the context, or `top_k` the head.
        """
        self._fits(context, head_size)
        longest = self.max_length or min(context or DEFAULT_MAX_LENGTH, DEFAULT_MAX_LENGTH)
        return Limits(
            max_length=longest,
            long_texts=self.long_texts,
            window_overlap=self.window_overlap,
            capture_roles=self.capture_roles,
            unit_size=self.unit_size,
            seed=self.seed,
        )

    def _fits(self, context: int | None, head_size: int) -> None:
        if context is not None and (self.max_length or 0) > context:
            raise ConfigError(
                f"max_length {self.max_length} is longer than the teacher's context of {context} "
                f"tokens. Give --max-length {context} or less."
            )
        if (self.top_k or 0) > head_size:
            raise ConfigError(
                f"top_k {self.top_k} is above the teacher's vocabulary of {head_size}. "
                f"Give --top-k {head_size} or less; 64 is usual."
            )
