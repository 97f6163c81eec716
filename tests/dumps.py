"""Synthetic dumps with known dense logits, written through the contract only: no model is run."""

import hashlib
import json
from dataclasses import dataclass
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
from stage1_teacher.samples import Sample, Segment
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
    """A dump on disk and the dense logits [L, V] behind every sample, by id."""

    path: Path
    manifest: Manifest
    samples: dict[str, Sample]
    logits: dict[str, np.ndarray]


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
    plan = plan_identity(settings)
    shards = []
    for unit, start in enumerate(range(0, count, unit_size)):
        rows = [
            (s, capture_twin(s, logits[s.id], capture, settings.limits.seed))
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
        shards.append(_ledger_line(name, unit, tables, target.read_bytes()))
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
    return Dump(path=path, manifest=manifest, samples={s.id: s for s in samples}, logits=logits)


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
