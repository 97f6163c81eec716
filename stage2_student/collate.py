"""From rows of row groups to a batch of torch tensors: slices joined, ragged lists made dense.

Python runs per sequence, numpy per position. Shapes: B rows, T places of a row, N trained
positions, E entries of all positions, K the most entries of a position, W elements of a hidden
state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from schemas.array_pool import POOL
from stage2_student.batch import Batch, Document
from stage2_student.group_arrays import Entries, GroupArrays
from stage2_student.span_reader import PlacedRow
from stage2_student.targets import Targets
from stage2_student.teacher_weights import ByTeacher, weighed


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShape:
    """What a batch is besides its rows.

    Attributes:
        length: T; None for the longest row.
        draws_per_unit: S of the dump's tail sample.
        temperatures: at which tail masses are read.
        epoch: of the plan.
        step: of the epoch.
        weigh_by: what of the teacher decides the weight of a position.
        hidden: the width of the stored states of each layer that is read.
    """

    length: int | None
    draws_per_unit: int
    temperatures: tuple[float, ...]
    epoch: int
    step: int
    weigh_by: ByTeacher = "none"
    hidden: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Piece:
    """A sequence of a batch: where it comes from, and the positions [first, last) of its group."""

    arrays: GroupArrays
    number: int
    tokens: npt.NDArray[np.int32]
    row: int
    start: int
    first: int
    last: int


def collate(rows: Sequence[Sequence[PlacedRow]], shape: BatchShape) -> Batch:
    """Builds the batch of packed rows, each a list of sequences.

    Args:
        rows: per row of the batch its sequences, in order; no rows give one row of padding.
        shape: length of the rows, and what the batch says of itself.
    """
    pieces = [piece for number, row in enumerate(rows) for piece in _pieces(number, row)]
    filled = max((piece.start + len(piece.tokens) for piece in pieces), default=1)
    length = shape.length or filled
    size = max(1, len(rows)), length
    input_ids, position_ids, document_ids = (np.zeros(size, np.int64) for _ in range(3))
    counter = np.arange(length)
    number, last_row = 0, -1
    for piece in pieces:
        tokens = piece.tokens
        number = 1 if piece.row != last_row else number + 1
        last_row = piece.row
        place = piece.row, slice(piece.start, piece.start + len(tokens))
        input_ids[place] = tokens
        position_ids[place] = counter[: len(tokens)]
        document_ids[place] = number
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        document_ids=torch.from_numpy(document_ids),
        targets=_targets(pieces, length, shape),
        documents=_documents(pieces),
        epoch=shape.epoch,
        step=shape.step,
        states={layer: _states(pieces, layer, width) for layer, width in shape.hidden.items()},
    )


def _pieces(row: int, sequences: Sequence[PlacedRow]) -> list[_Piece]:
    pieces, start = [], 0
    for arrays, number in sequences:
        first, last = arrays.positions.offsets[number : number + 2].tolist()
        begin, end = arrays.tokens.offsets[number : number + 2].tolist()
        pieces.append(
            _Piece(
                arrays=arrays,
                number=number,
                tokens=arrays.tokens.values[begin:end],
                row=row,
                start=start,
                first=first,
                last=last,
            )
        )
        start += end - begin
    return pieces


def _documents(pieces: Sequence[_Piece]) -> tuple[Document, ...]:
    documents, done = [], 0
    for piece in pieces:
        count = piece.last - piece.first
        documents.append(
            Document(
                id=piece.arrays.ids[piece.number].as_py(),
                source=piece.arrays.sources[piece.number].as_py(),
                row=piece.row,
                start=piece.start,
                length=len(piece.tokens),
                targets=(done, done + count),
            )
        )
        done += count
    return tuple(documents)


def _targets(pieces: Sequence[_Piece], length: int, shape: BatchShape) -> Targets:
    places = [
        p.arrays.positions.values[p.first : p.last] + (p.row * length + p.start) for p in pieces
    ]
    rows = _joined(places, np.int64)
    ids, logits = _dense([(p.arrays.kept, p.first, p.last) for p in pieces], at_least=1)
    tails = [(p.arrays.tail, p.first, p.last) for p in pieces if p.arrays.tail is not None]
    tail_ids, tail_logits = _dense(tails) if tails else _nothing(len(rows))
    targets = Targets(
        rows_N=rows,
        ids_NK=ids,
        logits_NK=logits,
        tail_logmass_N={
            t: _joined([p.arrays.tail_logmass[t][p.first : p.last] for p in pieces], np.float32)
            for t in shape.temperatures
        },
        tail_ids_NS=tail_ids,
        tail_logits_NS=tail_logits,
        draws_per_unit=shape.draws_per_unit,
        labels_N=_joined([p.arrays.labels[p.first : p.last] for p in pieces], np.int64),
        token_logprobs_N=_joined(
            [p.arrays.token_logprobs[p.first : p.last] for p in pieces], np.float32
        ),
        weights_N=_weights(pieces, len(rows)),
    )
    return weighed(targets, shape.weigh_by)


def _states(pieces: Sequence[_Piece], layer: str, width: int) -> torch.Tensor:
    """[N, W] one layer's states at the positions, which are those of the targets."""
    states = POOL.empty((sum(p.last - p.first for p in pieces), width), np.float32)
    done = 0
    for piece in pieces:
        tokens = piece.arrays.origins[piece.first : piece.last]
        if not len(tokens):
            continue
        stored = piece.arrays.states[layer]
        row = int(np.searchsorted(stored.offsets, tokens[0], side="right")) - 1
        states[done : done + len(tokens)] = stored.decode(row, tokens)
        done += len(tokens)
    return torch.from_numpy(states)


def _weights(pieces: Sequence[_Piece], positions: int) -> torch.Tensor:
    own = [p.arrays.weights[p.first : p.last] for p in pieces if p.arrays.weights is not None]
    return _joined(own, np.float32) if own else torch.ones(positions)


def _nothing(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(rows, 0, dtype=torch.int64), torch.zeros(rows, 0)


def _joined(
    parts: Sequence[npt.NDArray[np.generic]], kind: type[np.int64] | type[np.float32]
) -> torch.Tensor:
    joined = POOL.empty((sum(len(part) for part in parts),), kind)
    if parts:
        np.concatenate(parts, out=joined)
    return torch.from_numpy(joined)


def _dense(
    parts: Sequence[tuple[Entries, int, int]], at_least: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [N, K], 0 where padded, and logits [N, K], −inf where padded."""
    none = np.zeros(0, np.int64)
    counts = np.concatenate([none, *(own.counts[first:last] for own, first, last in parts)])
    ends = [(own.starts[first], own.starts[last]) for own, first, last in parts]
    ids = [own.ids[a:b] for (own, _, _), (a, b) in zip(parts, ends, strict=True)]
    logits = [own.logits[a:b] for (own, _, _), (a, b) in zip(parts, ends, strict=True)]
    shape = len(counts), max(at_least, int(counts.max(initial=0)))
    if counts.min(initial=shape[1]) == shape[1]:
        return _joined(ids, np.int64).view(shape), _joined(logits, np.float32).view(shape)
    places = dense_places(counts, shape[1])
    return _scattered(ids, places, shape, 0), _scattered(logits, places, shape, -np.inf)


def dense_places(counts: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    """[E] where the entries of lists of these lengths stand in a flattened [N, width]."""
    ends = np.cumsum(counts)
    shifts = np.arange(len(counts)) * width - (ends - counts)
    places: npt.NDArray[np.int64] = np.repeat(shifts, counts)
    places += np.arange(ends[-1])
    return places


def _scattered(
    parts: Sequence[npt.NDArray[np.generic]],
    places: npt.NDArray[np.int64],
    shape: tuple[int, int],
    padding: float,
) -> torch.Tensor:
    dense = POOL.empty(shape, np.int64 if parts[0].dtype == np.int32 else np.float32)
    dense.fill(padding)
    dense.reshape(-1)[places] = np.concatenate(parts)
    return torch.from_numpy(dense)
