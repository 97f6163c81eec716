"""From signals to Arrow tables: rounding by the codec, then one row per sample."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.codecs import Codec
from schemas.columns import Column, arrow_schema, temperature_column
from schemas.manifest import Capture
from stage1_teacher.samples import Ragged, Sample, Signals

Row = tuple[Sample, Signals]


def shard_table(
    rows: Sequence[Row], columns: list[Column], capture: Capture, codec: Codec
) -> pa.Table:
    """One table (one row group) of `rows`, with exactly `columns`, numbers rounded by `codec`.

    Raises:
        DamagedError: an entry breaks the codec's bound.
    """
    makers = _makers(capture, codec)
    arrays = [
        makers[column.name](rows)
        if column.name in makers
        else pa.array([sample.texts.get(column.name) for sample, _ in rows], column.type)
        for column in columns
    ]
    return pa.Table.from_arrays(arrays, schema=arrow_schema(columns))


def _makers(capture: Capture, codec: Codec) -> dict[str, Callable[[Sequence[Row]], pa.Array]]:
    grid = capture.temperatures
    makers: dict[str, Callable[[Sequence[Row]], pa.Array]] = {
        "id": lambda rows: pa.array([s.id for s, _ in rows], pa.string()),
        "source": lambda rows: pa.array([s.source for s, _ in rows], pa.string()),
        "input_ids": lambda rows: _list([s.input_ids for s, _ in rows], pa.int32()),
        "segments": lambda rows: _segments([s for s, _ in rows]),
        "captured": lambda rows: _spans([s for s, _ in rows]),
        "topk_ids": lambda rows: _nested([g.topk for _, g in rows], lambda r: r.ids, pa.int32()),
        "topk_logits": lambda rows: _nested(
            [g.topk for _, g in rows], lambda r: codec.round_logits(r.logits), pa.float32()
        ),
        "tail_ids": lambda rows: _nested([g.tail for _, g in rows], lambda r: r.ids, pa.int32()),
        "tail_logits": lambda rows: _nested(
            [g.tail for _, g in rows], lambda r: codec.round_logits(r.logits), pa.float32()
        ),
        "token_logprobs": lambda rows: _list([g.token_logprobs for _, g in rows], pa.float32()),
        "max_logit": lambda rows: _list([g.max_logit for _, g in rows], pa.float32()),
    }
    for index, temperature in enumerate(grid):
        makers[temperature_column(temperature).name] = _tail_maker(index, codec)
    return makers


def _tail_maker(index: int, codec: Codec) -> Callable[[Sequence[Row]], pa.Array]:
    return lambda rows: _list(
        [codec.round_logmass(g.tail_logmass[:, index]) for _, g in rows], pa.float32()
    )


def _element(kind: pa.DataType) -> pa.Field:
    return pa.field("element", kind, nullable=False)


def _lists(offsets: npt.NDArray[Any], values: pa.Array) -> pa.Array:
    kind = pa.list_(_element(values.type))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, type=kind)


def _starts(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64), dtype=np.int64)])


def _list(parts: Sequence[npt.NDArray[Any]], kind: pa.DataType) -> pa.Array:
    values = pa.array(np.concatenate(parts) if parts else np.zeros(0), kind)
    return _lists(_starts([len(part) for part in parts]), values)


def _nested(
    parts: Sequence[Ragged],
    values: Callable[[Ragged], npt.NDArray[Any]],
    kind: pa.DataType,
) -> pa.Array:
    bases = _starts([len(values(part)) for part in parts])
    inner = np.concatenate(
        [[0], *(part.offsets[1:] + base for part, base in zip(parts, bases, strict=False))]
    )
    flat = pa.array(np.concatenate([values(part) for part in parts]), kind)
    return _lists(_starts([len(part.offsets) - 1 for part in parts]), _lists(inner, flat))


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


def _structs(offsets: npt.NDArray[Any], children: list[tuple[str, pa.Array]]) -> pa.Array:
    fields = [pa.field(name, child.type, nullable=False) for name, child in children]
    return _lists(offsets, pa.StructArray.from_arrays([c for _, c in children], fields=fields))
