"""Hidden states of a row group, checked and decoded.

    file = dump.hidden_file(shard)
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)            # or columns=state_columns("15", codec)
        check_states(table, dump.manifest.capture, shard.name)
        states = layer_states(table, "15", dump.manifest.capture)

Shapes: R rows, N tokens of all rows, W elements of a stored state.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.codec_hidden import HIDDEN_CODECS, Floats, Parts
from schemas.columns import hidden_columns
from schemas.errors import DamagedError
from schemas.manifest import Capture
from schemas.row_group import Lists, Offsets, list_column

_LARGEST = float(np.finfo(np.float32).max)


def state_columns(layers: Sequence[str], capture: Capture) -> list[str]:
    """Names of the columns that these layers' states are read from, the id's first."""
    columns = hidden_columns(layers, str(capture.hidden_codec), capture.stored_width)
    return [column.name for column in columns]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredStates:
    """One layer's states as they are stored, so that many of them can be held.

    Attributes:
        offsets: [R+1] where each row's tokens begin.
        codec: its name.
        of_tokens: the columns with one element per token, [N] or [N, W], by the ending of their
            names.
        of_rows: those with one per row, [R, W].
    """

    offsets: Offsets
    codec: str
    of_tokens: Parts
    of_rows: Parts

    def decode(self, row: int, tokens: slice | Offsets) -> Floats:
        """The states of some tokens of a row, float32.

        Args:
            row: its number.
            tokens: of all rows' tokens, those of this row that are wanted.
        """
        parts = {ending: values[tokens] for ending, values in self.of_tokens.items()}
        parts |= {ending: values[row] for ending, values in self.of_rows.items()}
        return HIDDEN_CODECS[self.codec].decode(parts)


def stored_states(table: pa.Table, layer: str, capture: Capture) -> StoredStates:
    """One layer's states, not decoded; the stored numbers are not copied.

    Args:
        table: rows of a shard under hidden/ with at least `state_columns([layer], capture)`.
        layer: its id.
        capture: the dump's policy.
    """
    name, codec = f"hidden_{layer}", str(capture.hidden_codec)
    codes = _octets(table, name)
    of_tokens, of_rows = {"": codes.values}, {}
    if codec == "bf16":
        of_tokens["_low"] = _octets(table, f"{name}_low").values
    else:
        of_tokens["_scales"] = list_column(table, f"{name}_scales").values
        channels = list_column(table, f"{name}_channels").values
        of_rows["_channels"] = channels.reshape(-1, codes.values.shape[1])
    return StoredStates(offsets=codes.offsets, codec=codec, of_tokens=of_tokens, of_rows=of_rows)


def layer_states(table: pa.Table, layer: str, capture: Capture) -> Lists:
    """One layer's states of every token: offsets [R+1] and values float32 [N, W].

    Args:
        table: as in `stored_states`.
        layer: its id.
        capture: the dump's policy.
    """
    stored = stored_states(table, layer, capture)
    values = np.empty(stored.of_tokens[""].shape, np.float32)
    for row, (start, end) in enumerate(pairwise(stored.offsets.tolist())):
        values[start:end] = stored.decode(row, slice(start, end))
    return Lists(offsets=stored.offsets, values=values)


def other_rows(table: pa.Table, rows: pa.Table, layers: Sequence[str]) -> str | None:
    """In words, where hidden states are not those of the same row group under data/; else None.

    Args:
        table: the states, with the columns of these layers.
        rows: the row group, with `id` and `input_ids`.
        layers: their ids.
    """
    if table["id"] != rows["id"]:
        return "its rows are not those of the same row group under data/"
    lengths = np.diff(list_column(rows, "input_ids").offsets)
    for layer in layers:
        if not np.array_equal(np.diff(_octets(table, f"hidden_{layer}").offsets), lengths):
            return f"hidden_{layer} has not one state for each token"
    return None


def split_states(states: Lists) -> list[Floats]:
    """Per row its states [L, W]."""
    return np.split(states.values, states.offsets[1:-1])


def check_states(table: pa.Table, capture: Capture, where: str) -> None:
    """Checks every column of hidden states present in `table`.

    Raises:
        DamagedError: a number is not finite, or lengths disagree.
    """
    problem = first_state_problem(table, capture)
    if problem:
        raise DamagedError(
            f"{where}: {problem}. The shard was written by something broken, or altered. "
            "`potstill verify DUMP` lists what else is wrong; take a fresh copy of the dump."
        )


def first_state_problem(table: pa.Table, capture: Capture) -> str | None:
    """What is wrong first, in words; None when nothing is."""
    return next(_problems(table, capture), None)


def _problems(table: pa.Table, capture: Capture) -> Iterator[str]:
    present = set(table.column_names)
    for layer in capture.hidden_layers:
        name = f"hidden_{layer}"
        if name in present:
            check = _bf16_problems if capture.hidden_codec == "bf16" else _int8_problems
            yield from check(table, name)


def _bf16_problems(table: pa.Table, name: str) -> Iterator[str]:
    upper, lower = _octets(table, name), _octets(table, f"{name}_low")
    if not np.array_equal(upper.offsets, lower.offsets):
        yield f"{name} and {name}_low disagree about how many tokens there are"
    elif np.any(((upper.values & 0x7F) == 0x7F) & (lower.values >= 0x80)):
        yield f"{name} holds a number that is not finite"


def _int8_problems(table: pa.Table, name: str) -> Iterator[str]:
    codes, scales = _octets(table, name), list_column(table, f"{name}_scales")
    channels = list_column(table, f"{name}_channels")
    if not np.array_equal(codes.offsets, scales.offsets):
        yield f"{name} and {name}_scales disagree about how many tokens there are"
    elif np.any(np.diff(channels.offsets) != codes.values.shape[1]):
        yield f"{name}_channels has not one number per element of a state"
    elif len(scales.values):
        yield from _scale_problems(name, scales.values, channels.values)


def _scale_problems(name: str, scales: Floats, channels: Floats) -> Iterator[str]:
    """Minimum and maximum of anything with a NaN are NaN, and fail every comparison."""
    largest = 128.0 * float(scales.max()) * float(channels.max())
    if not (scales.min() >= 0 and channels.min() > 0 and largest < _LARGEST):
        yield f"{name}: a scale is negative, or gives numbers that are not finite"


def _octets(table: pa.Table, name: str) -> Lists:
    """A column of lists of byte strings of one width: values uint8 [N, W], no copy."""
    column = table[name]
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    offsets = array.offsets.to_numpy().astype(np.int64)
    child, width = array.values, array.values.type.byte_width
    held: npt.NDArray[Any] = np.frombuffer(child.buffers()[1] or b"", np.uint8)
    start, end = ((child.offset + offset) * width for offset in (offsets[0], offsets[-1]))
    return Lists(offsets=offsets - offsets[0], values=held[start:end].reshape(-1, width))
