"""From signals to Arrow tables: rounding by the codec, then one row per sample.

Everything of a row group is put together first and rounded once: numpy calls per row group, not
per sample. Shapes: R samples, P captured positions of all samples, E kept entries or draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.array_pool import POOL
from schemas.codecs import Codec
from schemas.columns import Column, arrow_schema, temperature_column
from schemas.manifest import Capture
from stage1_teacher.samples import Offsets, Ragged, Sample, Signals

Row = tuple[Sample, Signals]
Maker = Callable[[], pa.Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """The rows of one row group; `positions` [R+1] says where each one's positions start."""

    samples: list[Sample]
    signals: list[Signals]
    positions: Offsets
    capture: Capture
    codec: Codec


def shard_table(
    rows: Sequence[Row], columns: list[Column], capture: Capture, codec: Codec
) -> pa.Table:
    """One table (one row group) of `rows`, with exactly `columns`, numbers rounded by `codec`.

    Raises:
        DamagedError: an entry breaks the codec's bound.
    """
    group = _Group(
        samples=[sample for sample, _ in rows],
        signals=[signals for _, signals in rows],
        positions=_starts([len(signals.token_logprobs) for _, signals in rows]),
        capture=capture,
        codec=codec,
    )
    makers = _makers(group)
    arrays = [
        makers[column.name]() if column.name in makers else _texts(group, column)
        for column in columns
    ]
    return pa.Table.from_arrays(arrays, schema=arrow_schema(columns))


def _makers(group: _Group) -> dict[str, Maker]:
    """How every column is made; what is not here is a text column."""
    samples, signals = group.samples, group.signals
    makers: dict[str, Maker] = {
        "id": lambda: pa.array([s.id for s in samples], pa.string()),
        "source": lambda: pa.array([s.source for s in samples], pa.string()),
        "input_ids": lambda: _list([s.input_ids for s in samples], pa.int32()),
        "segments": lambda: _segments(samples),
        "captured": lambda: _spans(samples),
        "topk_ids": lambda: _ids(group, [g.topk for g in signals]),
        "topk_logits": lambda: _logits(group, [g.topk for g in signals]),
        "tail_ids": lambda: _ids(group, [g.tail for g in signals]),
        "tail_logits": lambda: _logits(group, [g.tail for g in signals]),
        "token_logprobs": lambda: _list(
            [np.minimum(g.token_logprobs, 0) for g in signals], pa.float32()
        ),
        "max_logit": lambda: _list([g.max_logit for g in signals], pa.float32()),
    }
    for index, temperature in enumerate(group.capture.temperatures):
        makers[temperature_column(temperature).name] = _tail_maker(group, index)
    return makers


def _tail_maker(group: _Group, index: int) -> Maker:
    def make() -> pa.Array:
        masses = _joined([g.tail_logmass[:, index] for g in group.signals], np.float32)
        return _lists(group.positions, pa.array(group.codec.round_logmass(masses), pa.float32()))

    return make


def _texts(group: _Group, column: Column) -> pa.Array:
    absent = None if column.name == "verdict" else ""
    values = [sample.texts.get(column.name, absent) for sample in group.samples]
    return pa.array(values, column.type)


def _ids(group: _Group, parts: Sequence[Ragged]) -> pa.Array:
    return _nested(group, parts, pa.array(_joined([part.ids for part in parts], np.int32)))


def _logits(group: _Group, parts: Sequence[Ragged]) -> pa.Array:
    logits = _joined([part.logits for part in parts], np.float32)
    return _nested(group, parts, pa.array(group.codec.round_logits(logits), pa.float32()))


def _nested(group: _Group, parts: Sequence[Ragged], flat: pa.Array) -> pa.Array:
    """[R][P][E]: entries of a position inside positions of a sample."""
    lengths = _joined([np.diff(part.offsets) for part in parts], np.int64)
    return _lists(group.positions, _lists(_starts(lengths), flat))


def _joined(parts: Sequence[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    joined = POOL.empty((sum(len(part) for part in parts),), kind)
    return np.concatenate([np.zeros(0, kind), *parts], out=joined, casting="same_kind")


def _starts(lengths: Sequence[int] | Offsets) -> Offsets:
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _lists(offsets: Offsets, values: pa.Array) -> pa.Array:
    kind = pa.list_(pa.field("element", values.type, nullable=False))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, type=kind)


def _list(parts: Sequence[npt.NDArray[Any]], kind: pa.DataType) -> pa.Array:
    values = pa.array(_joined(parts, kind.to_pandas_dtype()), kind)
    return _lists(_starts([len(part) for part in parts]), values)


def _segments(samples: Sequence[Sample]) -> pa.Array:
    flat = [segment for sample in samples for segment in sample.segments]
    kinds = pa.array([segment.kind for segment in flat], pa.string())
    return _structs(
        _starts([len(sample.segments) for sample in samples]),
        [("kind", kinds), *_ends([(s.start, s.end) for s in flat])],
    )


def _spans(samples: Sequence[Sample]) -> pa.Array:
    flat = [span for sample in samples for span in sample.captured]
    return _structs(_starts([len(sample.captured) for sample in samples]), _ends(flat))


def _ends(spans: Sequence[tuple[int, int]]) -> list[tuple[str, pa.Array]]:
    starts = pa.array([start for start, _ in spans], pa.int32())
    return [("start", starts), ("end", pa.array([end for _, end in spans], pa.int32()))]


def _structs(offsets: Offsets, children: list[tuple[str, pa.Array]]) -> pa.Array:
    fields = [pa.field(name, child.type, nullable=False) for name, child in children]
    return _lists(offsets, pa.StructArray.from_arrays([c for _, c in children], fields=fields))
