"""What a dump says about itself: strict pydantic models of manifest.json.

`plan` is a hash over everything that decides the numbers (teacher, engine, tokenizer, corpus,
capture, limits); every shard's footer repeats it. `identity` is a hash over the whole manifest,
shards included: two dumps with the same identity hold the same bytes.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.generation import Generation, GenerationCounts
from schemas.hidden_layers import LAYER
from schemas.ledger_part import LedgerPart
from schemas.privacy import Privacy
from schemas.strict_model import Count, Setting, Sha256, Strict, is_none

__all__ = [
    "FORMAT_VERSION",
    "Alignment",
    "Capture",
    "Corpus",
    "Count",
    "Derived",
    "Engine",
    "Generation",
    "GenerationCounts",
    "Limits",
    "Manifest",
    "Projection",
    "Setting",
    "Settings",
    "Sha256",
    "Shard",
    "Source",
    "Statistics",
    "Step",
    "Strict",
    "Teacher",
    "Tokenizer",
    "canonical",
    "digest",
    "manifest_identity",
    "plan_identity",
    "settings_of",
]

FORMAT_VERSION = 1


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
    settings: dict[str, Setting] = Field(default_factory=dict)


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
    columns: dict[str, str] = Field(default_factory=dict)
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
    hidden states, before a projection, and `hidden_depth` the number of its layers; it came later
    than the others, so it is left out where it is not known, and old plans keep their hash. With
    `probability_floor` no entry below that probability is stored, so the tail sample stands only
    for what is above it.
    """

    min_prob: Annotated[float, Field(gt=0, lt=1)] | None = 1 / 512
    top_k: Annotated[int, Field(ge=1)] = 64
    tail_samples: Count = 64
    temperatures: list[Annotated[float, Field(gt=0)]] = Field(default_factory=lambda: [1.0, 2.0])
    optional_columns: list[str] = Field(default_factory=list)
    hidden_layers: list[Annotated[str, Field(pattern=LAYER.pattern)]] = Field(default_factory=list)
    hidden_codec: Literal["int8", "bf16"] | None = None
    hidden_width: Annotated[int, Field(ge=1)] | None = None
    hidden_projection: Projection | None = None
    hidden_depth: Annotated[int, Field(ge=1)] | None = Field(
        None, exclude_if=lambda depth: depth is None
    )
    probability_floor: Annotated[float | None, Field(gt=0, lt=1, exclude_if=is_none)] = None

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
    capture_roles: list[str] = Field(default_factory=lambda: ["assistant"])
    unit_size: Annotated[int, Field(ge=1)]
    seed: Count = 0


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
    """One line of the ledger: an immutable file under data/ (and, by the same name, hidden/).

    `failed` counts samples that were set aside; it is written only where there are some, so that
    ledgers from before it was counted keep their hash.
    """

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
    failed: Annotated[int, Field(ge=0, exclude_if=lambda failed: not failed)] = 0
    generation: GenerationCounts | None = None
    statistics: Statistics


class Step(Strict):
    """One command that made a dump out of others: `inputs` are their identities."""

    operation: Literal["merge", "subset", "reencode", "reshard", "import"]
    arguments: dict[str, Setting] = Field(default_factory=dict)
    inputs: list[Sha256]


class Source(Strict):
    """A dump that a teacher made and whose rows another dump holds; as its own manifest says it."""

    identity: Sha256
    teacher: Teacher
    engine: Engine
    corpus: Corpus
    capture: Capture
    limits: Limits
    generation: Generation | None = None


class Derived(Strict):
    """How a dump was made out of others: every step, the last one last; and whose rows it holds.

    Where there are several sources, the column `origin` says which one a row came from.
    """

    steps: Annotated[list[Step], Field(min_length=1)]
    sources: Annotated[list[Source], Field(min_length=1)]


class Settings(Strict):
    """Everything that decides the numbers of a dump; its hash is the plan's identity.

    `derived` is written only where a dump was made out of others, and `privacy` only where
    something was left out or changed, so that manifests from before there were such things keep
    their hash.
    """

    format_version: Literal[1] = 1
    teacher: Teacher
    engine: Engine
    tokenizer: Tokenizer
    corpus: Corpus
    capture: Capture
    limits: Limits
    generation: Generation | None = None
    codec: str = "gap5"
    derived: Annotated[Derived | None, Field(exclude_if=is_none)] = None
    privacy: Annotated[Privacy | None, Field(exclude_if=is_none)] = None
    ranking: Annotated[Sha256 | None, Field(exclude_if=is_none)] = None


class Manifest(Settings):
    """manifest.json of a complete dump.

    `engine_options` are the knobs of memory and batching that the first worker gave its engine:
    they change no number beyond rounding, so another machine may go on with others. With many
    shards, `shards` is empty and `ledger` names the files that list them; `ledger.py` reads both.
    """

    created_by: str
    engine_options: dict[str, Setting] = Field(default_factory=dict)
    plan: Sha256
    identity: Sha256
    shards: list[Shard]
    ledger: Annotated[list[LedgerPart] | None, Field(exclude_if=is_none)] = None
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
