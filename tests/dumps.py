"""Synthetic dumps with known dense logits, written through the contract only: no model is run."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from schemas import layout
from schemas.alignment import merged_alignment
from schemas.codecs import CODECS
from schemas.columns import shard_columns
from schemas.manifest import (
    Capture,
    Corpus,
    Engine,
    Limits,
    Manifest,
    Settings,
    Shard,
    Teacher,
    Tokenizer,
    manifest_identity,
    plan_identity,
)
from schemas.shard_sums import ShardSums
from schemas.shards import write_shard
from schemas.tokenizer_fingerprint import tokenizer_fingerprint
from stage1_teacher.hidden_tables import hidden_recipe, hidden_table
from stage1_teacher.projection import projection_file
from stage1_teacher.samples import Sample, Segment, Signals
from stage1_teacher.shard_tables import shard_table
from tests.capture_twin import capture_twin

VOCABULARY = 64

TOKENIZER = json.dumps(
    {
        "version": "1.0",
        "added_tokens": [],
        "model": {
            "type": "WordLevel",
            "vocab": {f"w{i}": i for i in range(VOCABULARY)},
            "unk_token": "w0",
        },
    }
)
"""A tokenizer.json; synthetic dumps whose settings name its fingerprint hold it."""


@dataclass
class Dump:
    """A dump on disk and the dense logits [L, V] behind every sample, by id.

    `hidden` are the float32 states behind it, by id and layer; bfloat16 holds them exactly.
    """

    path: Path
    manifest: Manifest
    samples: dict[str, Sample]
    logits: dict[str, np.ndarray]
    hidden: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def make_samples(count: int, seed: int = 0, longest: int = 40, vocabulary: int = VOCABULARY):
    """Random samples of 3 to `longest` tokens: half fully captured, half only in their response."""
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(count):
        length = int(rng.integers(3, longest + 1))
        ids = rng.integers(0, vocabulary, length).astype(np.int32)
        if index % 2:
            middle = int(rng.integers(1, length))
            segments = (
                Segment(kind="prompt", start=0, end=middle),
                Segment(kind="response", start=middle, end=length),
            )
            captured = ((middle - 1, length - 1),)
        else:
            segments = (Segment(kind="text", start=0, end=length),)
            captured = ((0, length - 1),)
        samples.append(
            Sample(
                id=f"s{seed}-{index:05d}",
                source=f"synthetic/{'ab'[index % 2]}",
                input_ids=ids,
                segments=segments,
                captured=captured,
            )
        )
    return samples


def make_settings(capture: Capture, vocabulary: int = VOCABULARY, rows: int = 0) -> Settings:
    """Plausible settings of a synthetic dump; `fingerprint`s are hashes of constants."""
    return Settings(
        teacher=Teacher(
            name="synthetic",
            weights=sha(b"weights"),
            architecture="LlamaForCausalLM",
            parameters=1000,
            dtype="float32",
            license="apache-2.0",
        ),
        engine=Engine(name="synthetic", version="1"),
        tokenizer=Tokenizer(
            fingerprint=tokenizer_fingerprint(TOKENIZER),
            size=vocabulary,
            head_size=vocabulary,
            special_tokens={},
        ),
        corpus=Corpus(
            name="synthetic", fingerprint=sha(b"corpus"), rows=rows, license="apache-2.0"
        ),
        capture=capture,
        limits=Limits(max_length=64, unit_size=8),
    )


def write_dump(
    path: Path,
    *,
    count: int = 24,
    capture: Capture | None = None,
    seed: int = 0,
    vocabulary: int = VOCABULARY,
    unit_size: int = 8,
    rows_per_group: int = 4,
    sharpness: float = 3.0,
    settings: Settings | None = None,
    longest: int = 40,
) -> Dump:
    """Writes a complete dump of `count` random samples; a larger `sharpness` is a surer teacher."""
    capture = capture or (settings.capture if settings else Capture())
    settings = settings or make_settings(capture, vocabulary, count)
    samples = make_samples(count, seed, longest, vocabulary)
    rng = np.random.default_rng(seed + 1)
    logits = {
        s.id: (rng.standard_normal((len(s.input_ids), vocabulary)) * sharpness).astype(np.float32)
        for s in samples
    }
    columns = shard_columns(capture.temperatures, capture.optional_columns)
    (path / layout.DATA).mkdir(parents=True)
    (path / layout.TOKENIZER).mkdir()
    if settings.tokenizer.fingerprint == tokenizer_fingerprint(TOKENIZER):
        (path / layout.TOKENIZER / "tokenizer.json").write_text(TOKENIZER)
    hidden = {sample.id: make_states(sample, capture) for sample in samples}
    plan, seeds = plan_identity(settings), settings.limits.seed
    shards = []
    for unit, start in enumerate(range(0, count, unit_size)):
        rows = [
            (s, with_hidden(capture_twin(s, logits[s.id], capture, seeds), hidden[s.id]))
            for s in samples[start : start + unit_size]
        ]
        tables = [
            shard_table(rows[i : i + rows_per_group], columns, capture, CODECS["gap5"])
            for i in range(0, len(rows), rows_per_group)
        ]
        name = layout.shard_name(unit, hashlib.sha256(f"{seed}{unit}".encode()).hexdigest()[:12])
        target = path / layout.DATA / name
        footer = {
            "format_version": 1,
            "plan": plan,
            "codec": settings.codec,
            "unit": unit,
            "rows": len(rows),
            "tokens": sum(len(s.input_ids) for s, _ in rows),
        }
        with target.open("wb") as sink:
            write_shard(sink, tables, columns, footer)
        line = _ledger_line(name, unit, tables, target.read_bytes())
        groups = [rows[i : i + rows_per_group] for i in range(0, len(rows), rows_per_group)]
        shards.append(line.model_copy(update=_write_hidden(path, name, groups, footer, capture)))
    manifest = Manifest(
        **{name: getattr(settings, name) for name in Settings.model_fields},
        created_by="potstill tests",
        plan=plan,
        identity=sha(b""),
        shards=shards,
        alignment=merged_alignment([shard.statistics.alignment for shard in shards]),
    )
    manifest = manifest.model_copy(update={"identity": manifest_identity(manifest)})
    text = json.dumps(manifest.model_dump(mode="json"), indent=1)
    (path / layout.MANIFEST).write_text(text + "\n")
    return Dump(
        path=path,
        manifest=manifest,
        samples={s.id: s for s in samples},
        logits=logits,
        hidden=hidden,
    )


def hidden_policy(
    codec: str = "int8", layers=("0", "2", "last"), width: int = 6, **more
) -> Capture:
    """A policy that stores hidden states."""
    more = {"top_k": 16, "tail_samples": 32, **more}
    return Capture(hidden_layers=list(layers), hidden_codec=codec, hidden_width=width, **more)


def make_states(sample: Sample, capture: Capture) -> dict[str, np.ndarray]:
    """[L, D] float32 per layer: channels a hundredfold apart; bfloat16 holds them exactly."""
    found = {}
    for order, layer in enumerate(capture.hidden_layers):
        rng = np.random.default_rng([order, *sample.input_ids.tolist()])
        width = capture.hidden_width or 0
        sizes = np.geomspace(0.1, 10, width)
        states = (rng.standard_normal((len(sample.input_ids), width)) * sizes).astype(np.float32)
        found[layer] = (states.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return found


def with_hidden(signals: Signals, states: dict[str, np.ndarray]) -> Signals:
    """The signals with these states, as an engine gives them."""
    bits = {n: (s.view(np.uint32) >> 16).astype(np.uint16) for n, s in states.items()}
    return replace(signals, hidden=bits)


def _write_hidden(path, name, groups, footer, capture) -> dict:
    recipe = hidden_recipe(capture)
    if recipe is None:
        return {}
    target = path / layout.HIDDEN / name
    target.parent.mkdir(exist_ok=True)
    with target.open("wb") as sink:
        tables = (hidden_table(rows, recipe) for rows in groups)
        write_shard(sink, tables, recipe.columns, footer)
    if recipe.projection is not None:
        (path / layout.PROJECTION).write_bytes(projection_file(recipe.projection))
    data = target.read_bytes()
    return {"hidden_bytes": len(data), "hidden_sha256": sha(data)}


def _ledger_line(name, unit, tables, data) -> Shard:
    sums = ShardSums()
    for table in tables:
        sums.add(table)
    sums.check()
    return Shard(
        name=name,
        unit=unit,
        rows=sums.rows,
        tokens=sums.tokens,
        positions=sums.positions,
        bytes=len(data),
        sha256=sha(data),
        statistics=sums.statistics(),
    )
