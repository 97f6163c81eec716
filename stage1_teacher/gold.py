"""Writes the gold sample of a finished dump: gold/, from which full distributions can be had again.

Shapes: V rows of the head, D hidden width, P captured positions of a sequence.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import layout
from schemas.errors import ConfigError
from schemas.gold import Dtype, GoldFile, GoldInfo, head_schema, states_schema
from schemas.hidden_layers import LAST
from schemas.manifest import Capture, Manifest, Shard
from schemas.strict_json import json_bytes
from stage1_teacher.engine import Engine
from stage1_teacher.samples import Sample
from stage1_teacher.settings import DumpSettings

Floats = npt.NDArray[np.float32]

_NOTHING = GoldFile(bytes=0, sha256="sha256:" + "0" * 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldRecipe:
    """What a gold sample is made of.

    Attributes:
        sequences: how many.
        teacher: its folder.
        trust_remote_code: run the teacher's own Python code to learn its head's name.
        layers: hidden layers that the engine was told of, `last` among them.
    """

    sequences: int
    teacher: Path
    trust_remote_code: bool
    layers: tuple[str, ...]


def announced_layers(settings: DumpSettings) -> tuple[str, ...]:
    """Layers that the engine must be told of: a gold sample needs what the head reads."""
    gold_only = settings.gold > 0 and not settings.hidden_layers
    return (LAST,) if gold_only else tuple(settings.hidden_layers)


def gold_recipe(settings: DumpSettings, teacher: Path) -> GoldRecipe | None:
    """What the settings ask for; None for no gold sample.

    Raises:
        ModelError: the head of the teacher in `teacher` cannot be found in its files.
    """
    if not settings.gold:
        return None
    from stage1_teacher.head_file import find_head

    find_head(teacher, settings.trust_remote_code)
    return GoldRecipe(
        sequences=settings.gold,
        teacher=teacher,
        trust_remote_code=settings.trust_remote_code,
        layers=announced_layers(settings),
    )


@runtime_checkable
class GivesStates(Protocol):
    """An engine that gives the head's input as it is; of others it is taken as bfloat16."""

    def last_states(self, samples: Sequence[Sample]) -> Iterator[Floats]:
        """Yields the states at the captured positions, sample by sample."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    unit: int
    row: int
    sample: Sample


def gold_files(
    url: str, dump: tuple[Manifest, Sequence[Shard]], engine: Engine, recipe: GoldRecipe
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files under gold/; gold.json last.

    Args:
        url: the dump's folder, whose units are all committed.
        dump: what its manifest.json will be, and the ledger.
        engine: runs the teacher.
        recipe: how much, and of whom.

    Raises:
        ModelError: the teacher's head cannot be found in its files.
        ConfigError: the engine gives no states.
    """
    from stage1_teacher.head_file import find_head

    manifest, shards = dump
    head = find_head(recipe.teacher, recipe.trust_remote_code)
    chosen = list(_choose(url, shards, recipe.sequences))
    states = list(_states(engine, [c.sample for c in chosen], recipe.layers))
    info = GoldInfo(
        plan=manifest.plan,
        sequences=len(chosen),
        positions=sum(map(len, states)),
        head_rows=head.shape[0],
        hidden_width=head.shape[1],
        dtype=_stored_dtype(manifest),
        logits_dtype=_logits_dtype(manifest),
        scale=head.scale,
        softcap=head.softcap,
        bias=head.bias is not None,
        head=_NOTHING,
        states=_NOTHING,
    )
    bias = head.read_bias()
    blocks = (_rows(block.float().numpy(), info) for block in head.blocks())
    weights = _parquet(_head_tables(blocks, None if bias is None else bias.numpy(), info))
    found = _parquet([_states_table(chosen, states, info)])
    yield layout.GOLD_HEAD, weights
    yield layout.GOLD_STATES, found
    files = {"head": _described(weights), "states": _described(found)}
    yield layout.GOLD_INFO, json_bytes(info.model_copy(update=files))


def _stored_dtype(manifest: Manifest) -> Dtype:
    """bfloat16 where the teacher ran in it; an fp32 teacher's states are fp32."""
    return "bfloat16" if manifest.teacher.dtype == "bfloat16" else "float32"


def _logits_dtype(manifest: Manifest) -> Dtype:
    found = manifest.engine.settings.get("head_dtype") or manifest.teacher.dtype
    return "bfloat16" if found == "bfloat16" else "float32"


def _choose(url: str, shards: Sequence[Shard], count: int) -> Iterator[_Chosen]:
    """Rows spread evenly over the dump."""
    total = sum(shard.rows for shard in shards)
    wanted = sorted({(2 * i + 1) * total // (2 * count) for i in range(count)}) if total else []
    start = 0
    for shard in shards:
        rows = [index - start for index in wanted if start <= index < start + shard.rows]
        if rows:
            yield from _read_rows(url, shard, rows)
        start += shard.rows


def _read_rows(url: str, shard: Shard, rows: Sequence[int]) -> Iterator[_Chosen]:
    filesystem, path = fsspec.core.url_to_fs(url)
    place = f"{path.rstrip('/')}/{layout.DATA}/{shard.name}"
    with filesystem.open(place, "rb") as source:
        file = pq.ParquetFile(source, page_checksum_verification=True)
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            here = [row - start for row in rows if start <= row < end]
            if here:
                table = file.read_row_group(group, columns=["id", "input_ids", "captured"])
                for index in here:
                    values = table.slice(index, 1).to_pylist()[0]
                    yield _Chosen(unit=shard.unit, row=start + index, sample=_sample(values))
            start = end


def _sample(row: dict[str, Any]) -> Sample:
    return Sample(
        id=row["id"],
        source="",
        input_ids=np.asarray(row["input_ids"], np.int32),
        segments=(),
        captured=tuple((span["start"], span["end"]) for span in row["captured"]),
    )


def _states(engine: Engine, samples: Sequence[Sample], layers: tuple[str, ...]) -> Iterator[Floats]:
    """[P, D] of each sample."""
    if isinstance(engine, GivesStates):
        yield from engine.last_states(samples)
        return
    if LAST not in layers:
        raise ConfigError("gold needs the hidden layer last. Give --hidden-layers …,last.")
    policy = Capture(
        min_prob=None,
        top_k=1,
        tail_samples=0,
        temperatures=[1.0],
        hidden_layers=list(layers),
        hidden_codec="bf16",
    )
    found = {index: s.hidden[LAST] for index, s in engine.capture(samples, policy, 0)}
    for index, sample in enumerate(samples):
        halves = np.asarray(found[index])[sample.positions]
        yield (halves.astype(np.uint32) << 16).view(np.float32)


def _rows(values: Floats, info: GoldInfo) -> npt.NDArray[np.uint8]:
    """[N, bytes]: float32 as it is, or rounded to bfloat16, ties to even."""
    bits = np.ascontiguousarray(values, "<f4").view(np.uint32)
    if info.dtype == "bfloat16":
        halves = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
        return halves.view(np.uint8).reshape(len(values), -1)
    return bits.view(np.uint8).reshape(len(values), -1)


def _octets(rows: npt.NDArray[np.uint8]) -> pa.Array:
    kind = pa.binary(rows.shape[1])
    return pa.Array.from_buffers(kind, len(rows), [None, pa.py_buffer(rows.tobytes())])


def _head_tables(
    blocks: Iterator[npt.NDArray[np.uint8]], bias: Floats | None, info: GoldInfo
) -> Iterator[pa.Table]:
    start = 0
    for block in blocks:
        columns = [_octets(block)]
        if bias is not None:
            columns.append(pa.array(bias[start : start + len(block)], pa.float32()))
        start += len(block)
        yield pa.Table.from_arrays(columns, schema=head_schema(info))


def _states_table(chosen: Sequence[_Chosen], states: Sequence[Floats], info: GoldInfo) -> pa.Table:
    offsets = np.cumsum([0, *map(len, states)], dtype=np.int32)
    width = info.hidden_width
    joined = np.concatenate([np.zeros((0, width), np.float32), *states])
    schema = states_schema(info)
    lists = pa.ListArray.from_arrays(
        pa.array(offsets), _octets(_rows(joined, info)), type=schema.field("states").type
    )
    arrays = [
        pa.array([c.sample.id for c in chosen], pa.string()),
        pa.array([c.unit for c in chosen], pa.int32()),
        pa.array([c.row for c in chosen], pa.int32()),
        lists,
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _parquet(tables: Iterator[pa.Table] | list[pa.Table]) -> bytes:
    sink, writer = io.BytesIO(), None
    for table in tables:
        if writer is None:
            writer = pq.ParquetWriter(
                sink,
                table.schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=False,
                write_statistics=False,
                store_schema=False,
                write_page_checksum=True,
            )
        writer.write_table(table, row_group_size=max(1, table.num_rows))
    if writer is not None:
        writer.close()
    return sink.getvalue()


def _described(data: bytes) -> GoldFile:
    return GoldFile(bytes=len(data), sha256="sha256:" + hashlib.sha256(data).hexdigest())
