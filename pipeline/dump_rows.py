"""A dump's samples one by one as numpy arrays, decoded: what `open_dump(path).rows()` yields.

Shapes: L tokens of the sample, P captured positions, K kept entries of a position, D hidden width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.dump_folder import DumpFolder
from schemas.errors import DamagedError, InputError
from schemas.manifest import Manifest, Shard
from schemas.row_group import Lists, NestedLists, RowGroup
from schemas.value_ranges import check_values

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


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
        hidden: per layer [L, D] hidden states; only the layers asked for.
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
    hidden: dict[int, Floats]


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

    def rows(self, hidden: Sequence[int] = ()) -> Iterator[Row]:
        """Streams every sample in order, a row group in memory at a time.

        Args:
            hidden: layers whose hidden states are read, too.

        Raises:
            InputError: the dump does not hold one of the layers.
            DamagedError: a shard is bad.
        """
        _check_layers(self.manifest, hidden)
        for shard in self.folder.shards:
            yield from _shard_rows(self.folder, shard, hidden)


def _check_layers(manifest: Manifest, hidden: Sequence[int]) -> None:
    held = manifest.capture.hidden_layers
    absent = [layer for layer in hidden if str(layer) not in held]
    if absent:
        raise InputError(
            f"the dump does not hold the hidden states of layer {absent[0]}; it holds "
            f"{', '.join(held) or 'none'}. Ask for those, or dump with --hidden-layers {absent[0]}."
        )


def _shard_rows(folder: DumpFolder, shard: Shard, hidden: Sequence[int]) -> Iterator[Row]:
    states = _states(folder, shard, hidden)
    file = folder.shard_file(shard)
    for group in range(file.num_row_groups):
        with folder.reading(shard.name):
            table = file.read_row_group(group)
            check_values(table, folder.manifest, shard.name)
        yield from _group_rows(table, states)


def _group_rows(
    table: pa.Table, states: Iterator[tuple[str, dict[int, Floats]]] | None
) -> Iterator[Row]:
    group = RowGroup.of(table)
    plain = table.select(["id", "source", "segments"]).to_pylist()
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


def _states(
    folder: DumpFolder, shard: Shard, layers: Sequence[int]
) -> Iterator[tuple[str, dict[int, Floats]]] | None:
    """Per row of the shard its id and its layers' states; None when no layer was asked for."""
    return _read_states(folder, shard, layers) if layers else None


def _read_states(
    folder: DumpFolder, shard: Shard, layers: Sequence[int]
) -> Iterator[tuple[str, dict[int, Floats]]]:
    file = folder.hidden_file(shard)
    for group in range(file.num_row_groups):
        with folder.reading(shard.name):
            table = file.read_row_group(group)
        ids = table["id"].to_pylist()
        columns = {layer: table[f"hidden_{layer}"] for layer in layers}
        for index, own in enumerate(ids):
            yield own, {layer: _floats(column[index]) for layer, column in columns.items()}


def _floats(states: pa.Scalar) -> Floats:
    """bfloat16 bytes as float32: the upper half of its bits."""
    rows = states.values
    width = rows.type.byte_width // 2
    halves = np.frombuffer(b"".join(rows.to_pylist()), "<u2").reshape(-1, width)
    return (halves.astype(np.uint32) << 16).view(np.float32)
