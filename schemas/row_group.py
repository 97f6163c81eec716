"""A row group as flat numpy arrays: no copy of the stored numbers, offsets made to start at 0.

Shapes: R rows, L tokens of all rows, P captured positions of all rows, E entries of all positions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lists:
    """Lists of different length: list i is `values[offsets[i]:offsets[i+1]]`."""

    offsets: Offsets
    values: npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NestedLists:
    """Lists of lists: row r owns the inner lists outer[r] to outer[r+1].

    Attributes:
        outer: [R+1] in units of inner lists.
        inner: [P+1] in units of values.
        values: [E].
    """

    outer: Offsets
    inner: Offsets
    values: npt.NDArray[Any]


def list_column(table: pa.Table, name: str) -> Lists:
    """A column of lists of numbers."""
    array = _one(table, name)
    offsets, child = _unwrap(array)
    return Lists(offsets=offsets, values=_numpy(child))


def nested_column(table: pa.Table, name: str) -> NestedLists:
    """A column of lists of lists of numbers."""
    outer, child = _unwrap(_one(table, name))
    inner, values = _unwrap(child)
    return NestedLists(outer=outer, inner=inner, values=_numpy(values))


def span_column(table: pa.Table, name: str) -> tuple[Offsets, Ints, Ints]:
    """A column of lists of structs with start and end: offsets [R+1], starts, ends."""
    offsets, child = _unwrap(_one(table, name))
    return offsets, _numpy(child.field("start")), _numpy(child.field("end"))


def positions(spans: tuple[Offsets, Ints, Ints]) -> Lists:
    """Captured positions of every row, from the column `captured`: offsets [R+1], values [P]."""
    offsets, starts, ends = spans
    lengths = ends.astype(np.int64) - starts
    ends_of_spans = np.concatenate([[0], np.cumsum(lengths)])
    values = np.arange(ends_of_spans[-1]) - np.repeat(ends_of_spans[:-1] - starts, lengths)
    return Lists(offsets=ends_of_spans[offsets], values=values)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowGroup:
    """Every number of a row group that a loss at temperature 1 needs.

    Attributes:
        tokens: [R] lists of token ids.
        positions: [R] lists of captured positions.
        topk_ids: [R] lists of [P] lists of kept ids.
        topk_logits: the same of their logits, relative to the largest.
        tail_ids: the same of the tail sample's ids.
        tail_logmass: [R] lists, one value per position.
        token_logprobs: the same.
    """

    tokens: Lists
    positions: Lists
    topk_ids: NestedLists
    topk_logits: NestedLists
    tail_ids: NestedLists
    tail_logmass: Lists
    token_logprobs: Lists

    @classmethod
    def of(cls, table: pa.Table) -> "RowGroup":
        """From a table with at least these columns."""
        return cls(
            tokens=list_column(table, "input_ids"),
            positions=positions(span_column(table, "captured")),
            topk_ids=nested_column(table, "topk_ids"),
            topk_logits=nested_column(table, "topk_logits"),
            tail_ids=nested_column(table, "tail_ids"),
            tail_logmass=list_column(table, "tail_logmass"),
            token_logprobs=list_column(table, "token_logprobs"),
        )


def _one(table: pa.Table, name: str) -> pa.Array:
    column = table[name]
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _unwrap(array: pa.Array) -> tuple[Offsets, pa.Array]:
    offsets = array.offsets.to_numpy().astype(np.int64)
    child = array.values.slice(offsets[0], offsets[-1] - offsets[0])
    return offsets - offsets[0], child


def _numpy(array: pa.Array) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=array.null_count == 0)
    return values
