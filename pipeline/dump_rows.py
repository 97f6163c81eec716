"""A dump's samples one by one as numpy arrays, decoded: what `open_dump(path).rows()` yields.

Shapes: L tokens of the sample, P captured positions, K kept entries of a position, W elements of a
stored hidden state.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.columns import TEXTS
from schemas.dump_folder import DumpFolder
from schemas.errors import DamagedError, InputError
from schemas.hidden_states import check_states, layer_states, split_states, state_columns
from schemas.manifest import Manifest, Shard
from schemas.projection import read_projection
from schemas.row_group import Lists, NestedLists, RowGroup
from schemas.value_ranges import check_values

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Layer = int | str
"""A layer's number, or "last" for what the head reads."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One sequence exactly as the teacher saw it, and what the teacher knew.

    Attributes:
        id: stable sample id.
        source: corpus and slice it came from.
        input_ids: [L] token ids.
        segments: (kind, start, end) of half-open token spans.
        positions: [P] captured positions; position t predicts token t+1.
        topk_ids: per position [K] ids, most probable first.
        topk_logprobs: per position [K] log-probabilities at temperature 1.
        tail_logmass: [P] log of the probability outside the kept entries.
        token_logprobs: [P] log-probability of the realised next token.
        hidden: per layer [L, W] hidden states of every token; only the layers asked for.
        texts: of a response that the teacher wrote: `prompt`, `response`, `answer`, `verdict`, ….
    """

    id: str
    source: str
    input_ids: Ints
    segments: list[tuple[str, int, int]]
    positions: Ints
    topk_ids: list[Ints]
    topk_logprobs: list[Floats]
    tail_logmass: Floats
    token_logprobs: Floats
    hidden: dict[Layer, Floats]
    texts: dict[str, str | bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedDump:
    """A dump opened for reading."""

    folder: DumpFolder

    @property
    def manifest(self) -> Manifest:
        """What the dump says about itself."""
        return self.folder.manifest

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.folder.shards)

    def projection(self) -> Floats | None:
        """The matrix [D, W] that hidden states were multiplied by; None when by none.

        Raises:
            DamagedError: it is missing or altered.
        """
        return read_projection(self.folder)

    def rows(self, hidden: Sequence[Layer] = ()) -> Iterator[Row]:
        """Streams every sample in order, a row group in memory at a time.

        Args:
            hidden: layers whose hidden states are read, too: numbers, or "last".

        Raises:
            InputError: the dump does not hold one of the layers.
            DamagedError: a shard is bad.
        """
        _check_layers(self.manifest, hidden)
        for shard in self.folder.shards:
            yield from _shard_rows(self.folder, shard, hidden)


def _check_layers(manifest: Manifest, hidden: Sequence[Layer]) -> None:
    held = manifest.capture.hidden_layers
    absent = [layer for layer in hidden if str(layer) not in held]
    if absent:
        raise InputError(
            f"the dump does not hold the hidden states of layer {absent[0]}; it holds "
            f"{', '.join(held) or 'none'}. Ask for those, or dump with --hidden-layers {absent[0]}."
        )


def _shard_rows(folder: DumpFolder, shard: Shard, hidden: Sequence[Layer]) -> Iterator[Row]:
    states = _read_states(folder, shard, hidden) if hidden else None
    file = folder.shard_file(shard)
    for group in range(file.num_row_groups):
        with folder.reading(shard.name):
            table = file.read_row_group(group)
            check_values(table, folder.manifest, shard.name)
        yield from _group_rows(table, states)


def _group_rows(
    table: pa.Table, states: Iterator[tuple[str, dict[Layer, Floats]]] | None
) -> Iterator[Row]:
    group = RowGroup.of(table)
    texts = [name for name in TEXTS if name in table.column_names]
    plain = table.select(["id", "source", "segments", *texts]).to_pylist()
    logprobs = _logprobs(group)
    for index, row in enumerate(plain):
        span = _span(group.positions, index)
        own, found = next(states) if states else (row["id"], {})
        if own != row["id"]:
            raise DamagedError(f"hidden states of {own!r} stand where {row['id']!r} should be.")
        yield Row(
            id=row["id"],
            source=row["source"],
            input_ids=_one(group.tokens, index),
            segments=[(s["kind"], s["start"], s["end"]) for s in row["segments"]],
            positions=group.positions.values[span].astype(np.int32),
            topk_ids=_split(group.topk_ids, group.topk_ids.values, span),
            topk_logprobs=_split(group.topk_logits, logprobs, span),
            tail_logmass=group.tail_logmass.values[span],
            token_logprobs=group.token_logprobs.values[span],
            hidden=found,
            texts={name: row[name] for name in texts},
        )


def _logprobs(group: RowGroup) -> Floats:
    """log_softmax(topk_logits) + log1p(−exp(tail_logmass)) for all positions at once."""
    logits, starts = group.topk_logits.values.astype(np.float64), group.topk_logits.inner[:-1]
    if not len(starts):
        return logits.astype(np.float32)
    sums = np.add.reduceat(np.exp(logits), starts)
    kept = np.log(-np.expm1(np.minimum(group.tail_logmass.values.astype(np.float64), -1e-12)))
    shift = np.repeat(kept - np.log(sums), np.diff(group.topk_logits.inner))
    result: Floats = (logits + shift).astype(np.float32)
    return result


def _span(lists: Lists, index: int) -> slice:
    return slice(int(lists.offsets[index]), int(lists.offsets[index + 1]))


def _one(lists: Lists, index: int) -> npt.NDArray[Any]:
    return lists.values[_span(lists, index)]


def _split(lists: NestedLists, values: npt.NDArray[Any], span: slice) -> list[npt.NDArray[Any]]:
    bounds = lists.inner[span.start : span.stop + 1]
    return [values[start:end] for start, end in pairwise(bounds)]


def _read_states(
    folder: DumpFolder, shard: Shard, layers: Sequence[Layer]
) -> Iterator[tuple[str, dict[Layer, Floats]]]:
    """Per row of the shard its id and its layers' states."""
    file, capture = folder.hidden_file(shard), folder.manifest.capture
    names = state_columns([str(layer) for layer in layers], capture)
    for group in range(file.num_row_groups):
        with folder.reading(shard.name):
            table = file.read_row_group(group, columns=names)
        check_states(table, capture, shard.name)
        split = [split_states(layer_states(table, str(layer), capture)) for layer in layers]
        for own, *states in zip(table["id"].to_pylist(), *split, strict=True):
            yield own, dict(zip(layers, states, strict=True))
