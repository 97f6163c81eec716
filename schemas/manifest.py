"""What a dump says about itself: strict pydantic models of manifest.json.

`plan` is a hash over everything that decides the numbers (teacher, engine, tokenizer, corpus,
capture, limits); every shard's footer repeats it. `identity` is a hash over the whole manifest,
shards included: two dumps with the same identity hold the same bytes.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.hidden_layers import LAYER

FORMAT_VERSION = 1

Sha256 = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Setting = str | int | float | bool | None | list[int]


class Strict(BaseModel):
    """A frozen model that refuses unknown fields, NaN and values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Teacher(Strict):
    """The model whose knowledge this is; `weights` is a hash over its weight files."""

    name: str
    revision: str | None = None
    weights: Sha256
    architecture: str
    parameters: Count
    dtype: Literal["float32", "bfloat16", "float16"]
    quantization: str | None = None
    license: str
    output_terms: str | None = None


class Engine(Strict):
    """The program that ran the teacher, and the settings that decide its numbers."""

    name: str
    version: str
    settings: dict[str, Setting] = {}


class Tokenizer(Strict):
    """The teacher's tokenizer, and the width of the teacher's output head.

    `head_size` is the number of logits that the teacher gives per position; padded heads are wider
    than the tokenizer, so ids are checked against this and never against the tokenizer.
    """

    fingerprint: Sha256
    size: Count
    head_size: Annotated[int, Field(ge=1)]
    special_tokens: dict[str, Count]
    chat_template: Sha256 | None = None


class Corpus(Strict):
    """What was read; `fingerprint` is a hash over the content of all rows in order."""

    name: str
    fingerprint: Sha256
    rows: Count
    license: str
    columns: dict[str, str] = {}
    prompt_template: str | None = None


class Projection(Strict):
    """A fixed matrix that hidden states were multiplied by: `projection.npy` in the dump."""

    width: Annotated[int, Field(ge=1)]
    sha256: Sha256


class Capture(Strict):
    """Which entries are kept at a position, and what is stored of the rest.

    Kept are the `top_k` most probable entries, of these only those with p ≥ `min_prob` when it is
    set, but always the most probable one. `tail_samples` is S: systematic draws per unit of
    probability outside the kept entries; 0 for none. `hidden_width` is the width of the teacher's
    hidden states, before a projection.
    """

    min_prob: Annotated[float, Field(gt=0, lt=1)] | None = 1 / 512
    top_k: Annotated[int, Field(ge=1)] = 64
    tail_samples: Count = 64
    temperatures: list[Annotated[float, Field(gt=0)]] = [1.0, 2.0]
    optional_columns: list[str] = []
    hidden_layers: list[Annotated[str, Field(pattern=LAYER.pattern)]] = []
    hidden_codec: Literal["int8", "bf16"] | None = None
    hidden_width: Annotated[int, Field(ge=1)] | None = None
    hidden_projection: Projection | None = None

    @property
    def stored_width(self) -> int:
        """Elements of one stored hidden state; 0 when none are stored."""
        if not self.hidden_layers:
            return 0
        return self.hidden_projection.width if self.hidden_projection else self.hidden_width or 0


class Limits(Strict):
    """How rows became sequences."""

    max_length: Annotated[int, Field(ge=2)]
    long_texts: Literal["window", "cut"] = "window"
    window_overlap: Count = 0
    capture_roles: list[str] = ["assistant"]
    unit_size: Annotated[int, Field(ge=1)]
    seed: Count = 0


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
    stop: list[str] = []
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


class Alignment(Strict):
    """The self-test: mean |stored realised log-probability − the same read from the kept entries|.

    Compared over positions whose next token (at the shift) is among the kept entries. Shift 0 must
    be within the codec's bound and shifts ±1 must not; `positions` is how many were compared.
    """

    positions: Count
    shift_minus_1: float | None
    shift_0: float | None
    shift_plus_1: float | None


class Statistics(Strict):
    """Sums over a shard, so that a dump's figures are known without reading it."""

    kept: Count
    drawn: Count
    tail_mass: float
    negative_logprob: float
    alignment: Alignment


class Shard(Strict):
    """One line of the ledger: an immutable file under data/ (and, by the same name, hidden/)."""

    name: Annotated[str, Field(pattern=r"^part-\d+-[0-9a-f]+\.parquet$")]
    unit: Count
    rows: Count
    tokens: Count
    positions: Count
    bytes: Count
    sha256: Sha256
    hidden_bytes: Count = 0
    hidden_sha256: Sha256 | None = None
    skipped: Count = 0
    truncated: Count = 0
    generation: GenerationCounts | None = None
    statistics: Statistics


class Settings(Strict):
    """Everything that decides the numbers of a dump; its hash is the plan's identity."""

    format_version: Literal[1] = 1
    teacher: Teacher
    engine: Engine
    tokenizer: Tokenizer
    corpus: Corpus
    capture: Capture
    limits: Limits
    generation: Generation | None = None
    codec: str = "gap5"


class Manifest(Settings):
    """manifest.json of a complete dump.

    `engine_options` are the knobs of memory and batching that the first worker gave its engine:
    they change no number beyond rounding, so another machine may go on with others.
    """

    created_by: str
    engine_options: dict[str, Setting] = {}
    plan: Sha256
    identity: Sha256
    shards: list[Shard]
    alignment: Alignment


def settings_of(manifest: Manifest) -> Settings:
    """The part of a manifest that its `plan` is the hash of."""
    return Settings(**{name: getattr(manifest, name) for name in Settings.model_fields})


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no blanks, UTF-8; the form that every hash is taken over."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def digest(value: Any) -> str:
    """`sha256:<hex>` over the canonical JSON of a value."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def plan_identity(settings: Settings) -> str:
    """The hash that every shard's footer repeats."""
    fields = set(Settings.model_fields)
    return digest(settings.model_dump(mode="json", include=fields))


def manifest_identity(manifest: Manifest) -> str:
    """The hash over all of a manifest but the hash itself."""
    return digest(manifest.model_dump(mode="json", exclude={"identity"}))
