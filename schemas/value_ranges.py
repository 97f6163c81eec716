"""Range checks on the numbers of a row group: a dump is untrusted input.

Vectorised, about a pass over each column, so that the reader can afford them on every row group
before anything reaches a loss. Each check works on the columns that are there.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from schemas.errors import DamagedError
from schemas.manifest import Settings
from schemas.row_group import (
    Ints,
    Lists,
    NestedLists,
    Offsets,
    list_column,
    nested_column,
    span_column,
)

Spans = tuple[Offsets, Ints, Ints]
"""Offsets of the rows, starts and ends of their spans."""

_PAIRS = (("topk_ids", "topk_logits"), ("tail_ids", "tail_logits"))
_MASSES = ("tail_logmass", "token_logprobs")


def check_values(table: pa.Table, settings: Settings, where: str) -> None:
    """Checks every column present in `table` (a projection will do).

    Args:
        table: one row group, or rows of one.
        settings: head size and capture policy of the dump: its manifest will do.
        where: the shard's name, for the message.

    Raises:
        DamagedError: an id outside the head, a positive or non-finite number, entries not
            descending, or lists whose lengths disagree.
    """
    problem = first_problem(table, settings)
    if problem:
        raise DamagedError(
            f"{where}: {problem}. The shard was written by something broken, or altered. "
            "`potstill verify DUMP` lists what else is wrong; take a fresh copy of the dump."
        )


def first_problem(table: pa.Table, settings: Settings) -> str | None:
    """What is wrong first, in words; None when nothing is."""
    return next(_problems(table, settings), None)


def _problems(table: pa.Table, settings: Settings) -> Iterator[str]:
    names = set(table.column_names)
    nested = {n: nested_column(table, n) for pair in _PAIRS for n in pair if n in names}
    flat = {n: list_column(table, n) for n in sorted(names) if _is_per_position(n)}
    yield from _count_problems(table, nested, flat)
    if {"segments", "input_ids"} <= names:
        lengths = np.diff(list_column(table, "input_ids").offsets)
        yield from _segment_problems(span_column(table, "segments"), lengths)
    head, capture = settings.tokenizer.head_size, settings.capture
    if "input_ids" in names:
        yield from _id_problems("input_ids", list_column(table, "input_ids"), head)
    for name in ("topk_ids", "tail_ids"):
        if name in nested:
            yield from _id_problems(name, nested[name], head)
    for name in ("topk_logits", "tail_logits"):
        if name in nested:
            yield from _range_problems(name, nested[name], top=0.0)
    for name, values in flat.items():
        yield from _range_problems(name, values, top=None if name == "max_logit" else 0.0)
    if "topk_logits" in nested:
        yield from _order_problems(nested["topk_logits"], capture.top_k)
    if "tail_ids" in nested:
        longest = int(np.diff(nested["tail_ids"].inner).max(initial=0))
        if longest > capture.tail_samples + 1:
            yield f"a position has {longest} tail draws; {capture.tail_samples + 1} is the most"


def _is_per_position(name: str) -> bool:
    return name in ("token_logprobs", "max_logit") or name.startswith("tail_logmass")


def _count_problems(
    table: pa.Table, nested: dict[str, NestedLists], flat: dict[str, Lists]
) -> Iterator[str]:
    counts = {name: np.diff(column.outer) for name, column in nested.items()}
    counts |= {name: np.diff(column.offsets) for name, column in flat.items()}
    if {"captured", "input_ids"} <= set(table.column_names):
        spans = span_column(table, "captured")
        yield from _span_problems(spans, np.diff(list_column(table, "input_ids").offsets))
        lengths = np.concatenate([[0], np.cumsum(spans[2].astype(np.int64) - spans[1])])
        counts = {"captured": np.diff(lengths[spans[0]]), **counts}
    first = next(iter(counts), None)
    for name, count in counts.items():
        if first and not np.array_equal(count, counts[first]):
            yield f"{name} and {first} disagree about how many positions are captured"
    for ids, logits in _PAIRS:
        held = ids in nested and logits in nested
        if held and not np.array_equal(nested[ids].inner, nested[logits].inner):
            yield f"{ids} and {logits} disagree about how many entries are kept"


def _span_problems(spans: Spans, lengths: Offsets) -> Iterator[str]:
    offsets, starts, ends = spans
    rows = np.repeat(np.arange(len(lengths)), np.diff(offsets))
    same_row = rows[1:] == rows[:-1]
    if np.any(starts < 0) or np.any(ends <= starts) or np.any(ends >= lengths[rows]):
        yield "captured: a span is empty, or reaches past the last position that predicts a token"
    elif np.any((starts[1:] < ends[:-1]) & same_row):
        yield "captured: spans overlap or are out of order"


def _segment_problems(spans: Spans, lengths: Offsets) -> Iterator[str]:
    offsets, starts, ends = spans
    if np.any(np.diff(offsets) < 1):
        yield "segments: a row has none"
        return
    expected = np.concatenate([[0], ends[:-1]])
    expected[offsets[:-1]] = 0
    wrong = (starts != expected) | (ends <= starts)
    if wrong.any() or np.any(ends[offsets[1:] - 1] != lengths):
        yield "segments do not cover a row from its first token to its last, one after the other"


def _id_problems(name: str, ids: Lists | NestedLists, head: int) -> Iterator[str]:
    """An id below 0 is a huge one when read without sign, so one pass is enough."""
    if len(ids.values) and ids.values.view(np.uint32).max() >= head:
        bad = ids.values[(ids.values < 0) | (ids.values >= head)][0]
        yield f"{name} holds the id {bad}, and the teacher's head has {head} rows"


def _range_problems(name: str, column: Lists | NestedLists, top: float | None) -> Iterator[str]:
    """Minimum and maximum of anything with a NaN are NaN, and fail every comparison."""
    if not len(column.values):
        return
    lowest, highest = column.values.min(), column.values.max()
    if not (lowest > -np.inf and highest < np.inf):
        yield f"{name} holds a number that is not finite"
    elif top is not None and not highest <= top:
        yield f"{name} holds {highest}; log-probabilities and gaps are at most {top:g}"
    elif name.startswith("tail_logmass") and highest == 0:
        yield f"{name} holds 0: nothing would be left for the kept entries"


def _order_problems(logits: NestedLists, most: int) -> Iterator[str]:
    counts = np.diff(logits.inner)
    if not len(counts):
        return
    if counts.min() < 1 or counts.max() > most:
        yield f"a position keeps {counts.min()} to {counts.max()} entries; 1 to {most} are allowed"
        return
    starts = logits.inner[:-1]
    if np.any(logits.values[starts] != 0):
        yield "topk_logits: a position does not begin with its largest logit, which is 0"
    rises = logits.values[1:] > logits.values[:-1]
    rises[starts[1:] - 1] = False
    if rises.any():
        yield "topk_logits are not descending"
