"""From hidden states to the Arrow tables of hidden/: projected where asked for, then encoded.

Shapes: R samples, N tokens of all samples, D width of the teacher's states, W of the stored ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.codec_hidden import HIDDEN_CODECS, Bits, Floats, Parts
from schemas.columns import Column, arrow_schema, hidden_columns
from schemas.errors import DamagedError
from schemas.manifest import Capture
from stage1_teacher.projection import projection_matrix
from stage1_teacher.samples import Offsets
from stage1_teacher.shard_tables import Row

_BLOCK = 1024
"""Tokens projected at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenRecipe:
    """How hidden states become a shard under hidden/.

    Attributes:
        layers: ids of the layers, in order.
        codec: name of the codec.
        width: D.
        projection: [D, W], or None to store states as wide as they are.
    """

    layers: tuple[str, ...]
    codec: str
    width: int
    projection: Floats | None = None

    @property
    def columns(self) -> list[Column]:
        """The shard's columns in file order."""
        stored = self.width if self.projection is None else self.projection.shape[1]
        return hidden_columns(self.layers, self.codec, stored)


def hidden_recipe(capture: Capture) -> HiddenRecipe | None:
    """What a capture policy says about hidden states; None when it stores none."""
    if not capture.hidden_layers or capture.hidden_codec is None or capture.hidden_width is None:
        return None
    width, narrow = capture.hidden_width, capture.hidden_projection
    return HiddenRecipe(
        layers=tuple(capture.hidden_layers),
        codec=capture.hidden_codec,
        width=width,
        projection=projection_matrix(width, narrow.width) if narrow else None,
    )


def hidden_table(rows: Sequence[Row], recipe: HiddenRecipe) -> pa.Table:
    """One row group under hidden/, with exactly the recipe's columns.

    Raises:
        DamagedError: the engine gave other states than asked for, or states that cannot be stored.
    """
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(sample.input_ids) for sample, _ in rows], out=offsets[1:])
    arrays = [pa.array([sample.id for sample, _ in rows], pa.string())]
    for layer in recipe.layers:
        states_ND = _joined(rows, layer, recipe.width)
        parts = HIDDEN_CODECS[recipe.codec].encode(_projected(states_ND, recipe.projection))
        arrays += _arrays(parts, offsets)
    return pa.Table.from_arrays(arrays, schema=arrow_schema(recipe.columns))


def _joined(rows: Sequence[Row], layer: str, width: int) -> Bits:
    for sample, signals in rows:
        found = signals.hidden.get(layer)
        expected = (len(sample.input_ids), width)
        if found is None or found.shape != expected:
            raise DamagedError(
                f"the engine left the hidden states of sample {sample.id!r} incomplete: layer "
                f"{layer} has shape {None if found is None else found.shape} instead of "
                f"{expected}. This is a bug in the engine; please report it."
            )
    return np.concatenate([signals.hidden[layer] for _, signals in rows])


def _projected(states_ND: Bits, projection_DW: Floats | None) -> Bits | Floats:
    if projection_DW is None:
        return states_ND
    result = np.empty((len(states_ND), projection_DW.shape[1]), np.float32)
    for start in range(0, len(states_ND), _BLOCK):
        block = states_ND[start : start + _BLOCK].astype(np.uint32) << 16
        np.matmul(block.view(np.float32), projection_DW, out=result[start : start + len(block)])
    return result


def _arrays(parts: Parts, offsets: npt.NDArray[np.int32]) -> list[pa.Array]:
    """Per part one column: bytes and numbers per token; channels, which all rows share, per row."""
    rows = len(offsets) - 1
    arrays = []
    for name, values in parts.items():
        if values.ndim == 2:
            arrays.append(_lists(offsets, _octets(values)))
        elif name == "_channels":
            every = np.arange(rows + 1, dtype=np.int32) * len(values)
            arrays.append(_lists(every, pa.array(np.tile(values, rows), pa.float32())))
        else:
            arrays.append(_lists(offsets, pa.array(values, pa.float32())))
    return arrays


def _octets(values: npt.NDArray[np.generic]) -> pa.Array:
    kind = pa.binary(values.shape[1])
    held = pa.py_buffer(np.ascontiguousarray(values))
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, held])


def _lists(offsets: Offsets | npt.NDArray[np.int32], values: pa.Array) -> pa.Array:
    kind = pa.list_(pa.field("element", values.type, nullable=False))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=kind)
