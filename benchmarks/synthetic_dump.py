"""A dump of random numbers with the sizes and the look of a real one, made in seconds."""

import hashlib
from pathlib import Path

import numpy as np

from schemas import layout
from schemas.alignment import merged_alignment
from schemas.codecs import CODECS
from schemas.columns import shard_columns
from schemas.manifest import (
    Capture,
    Manifest,
    Settings,
    Shard,
    manifest_identity,
    plan_identity,
)
from schemas.shard_sums import ShardSums
from schemas.shards import ROWS_PER_GROUP, write_shard
from stage1_teacher.samples import Ragged, Sample, Segment, Signals
from stage1_teacher.shard_tables import shard_table
from tests.dumps import make_settings

VOCABULARY = 49_152
CAPTURES = {
    "k=64": Capture(min_prob=None, top_k=64, tail_samples=0),
    "default": Capture(),
}
_ROW_TOKENS = (40, 640)
_UNIT_ROWS = 256


def write_synthetic_dump(path: Path, policy: str, tokens: int, seed: int = 0) -> None:
    """Writes a complete dump of about `tokens` tokens under one of the policies of `CAPTURES`.

    At the default policy a position keeps 1 to 64 entries, 22 on average, and 0 to 12 draws.
    """
    rng = np.random.default_rng(seed)
    capture = CAPTURES[policy]
    lengths = rng.integers(*_ROW_TOKENS, tokens // (sum(_ROW_TOKENS) // 2))
    settings = make_settings(capture, VOCABULARY, len(lengths))
    settings = settings.model_copy(
        update={"limits": settings.limits.model_copy(update={"max_length": _ROW_TOKENS[1]})}
    )
    (path / layout.DATA).mkdir(parents=True)
    shards = [
        _write_unit(
            path, settings, unit, _rows(rng, lengths[start : start + _UNIT_ROWS], unit, capture)
        )
        for unit, start in enumerate(range(0, len(lengths), _UNIT_ROWS))
    ]
    manifest = Manifest(
        **{name: getattr(settings, name) for name in Settings.model_fields},
        created_by="potstill benchmarks",
        plan=plan_identity(settings),
        identity="sha256:" + "0" * 64,
        shards=shards,
        alignment=merged_alignment([shard.statistics.alignment for shard in shards]),
    )
    manifest = manifest.model_copy(update={"identity": manifest_identity(manifest)})
    (path / layout.MANIFEST).write_text(manifest.model_dump_json(indent=1))


def _write_unit(
    path: Path, settings: Settings, unit: int, rows: list[tuple[Sample, Signals]]
) -> Shard:
    columns = shard_columns(settings.capture.temperatures)
    codec = CODECS[settings.codec]
    groups = [rows[i : i + ROWS_PER_GROUP] for i in range(0, len(rows), ROWS_PER_GROUP)]
    tables = [shard_table(group, columns, settings.capture, codec) for group in groups]
    sums = ShardSums()
    for table in tables:
        sums.add(table)
    name = layout.shard_name(unit, hashlib.sha256(str(unit).encode()).hexdigest()[:12])
    footer = {
        "format_version": 1,
        "plan": plan_identity(settings),
        "codec": settings.codec,
        "unit": unit,
        "rows": sums.rows,
        "tokens": sums.tokens,
    }
    target = path / layout.DATA / name
    with target.open("wb") as sink:
        write_shard(sink, tables, columns, footer)
    data = target.read_bytes()
    return Shard(
        name=name,
        unit=unit,
        rows=sums.rows,
        tokens=sums.tokens,
        positions=sums.positions,
        bytes=len(data),
        sha256="sha256:" + hashlib.sha256(data).hexdigest(),
        statistics=sums.statistics(),
    )


def _rows(
    rng: np.random.Generator, lengths: np.ndarray, unit: int, capture: Capture
) -> list[tuple[Sample, Signals]]:
    rows = []
    for number, length in enumerate(lengths.tolist()):
        sample = Sample(
            id=f"{unit:04d}-{number:04d}",
            source=f"synthetic/{'abc'[number % 3]}",
            input_ids=_ids(rng, length),
            segments=(Segment(kind="text", start=0, end=length),),
            captured=((0, length - 1),),
        )
        rows.append((sample, _signals(rng, length - 1, capture)))
    return rows


def _ids(rng: np.random.Generator, count: int) -> np.ndarray:
    """Token ids as frequent as words are, frequent ones first, as byte pair encoding counts."""
    return (np.exp(rng.random(count) * np.log(VOCABULARY)) - 1).astype(np.int32)


def _signals(rng: np.random.Generator, count: int, capture: Capture) -> Signals:
    most = capture.top_k
    kept = np.full(count, most)
    drawn = np.zeros(count, np.int64)
    if capture.min_prob is not None:
        kept = 1 + rng.binomial(most - 1, rng.beta(0.6, 1.2, count))
        drawn = rng.binomial(12, rng.beta(0.8, 1.2, count))
    return Signals(
        topk=_ragged(rng, kept, descending=True),
        tail=_ragged(rng, drawn, descending=False),
        tail_logmass=-rng.exponential(3.0, (count, len(capture.temperatures))).astype(np.float32)
        - 0.01,
        max_logit=np.zeros(count, np.float32),
        token_logprobs=-rng.exponential(2.0, count).astype(np.float32),
    )


def _ragged(rng: np.random.Generator, counts: np.ndarray, descending: bool) -> Ragged:
    offsets = np.concatenate([[0], np.cumsum(counts)])
    total = int(offsets[-1])
    gaps = np.cumsum(rng.exponential(0.15, total))
    starts = offsets[:-1][counts > 0]
    gaps -= np.repeat(gaps[starts], counts[counts > 0])
    logits = -gaps if descending else -3 - rng.exponential(2.0, total)
    return Ragged(offsets=offsets, ids=_ids(rng, total), logits=logits.astype(np.float32))
