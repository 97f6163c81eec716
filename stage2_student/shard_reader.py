"""A row group as flat numpy arrays: only the columns that are needed, checked before any use.

No Python runs per row, but where rows are split into tasks. Shapes: R rows, P captured positions of
all rows, L tokens of all rows.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas import layout
from schemas.array_pool import POOL
from schemas.columns import temperature_column
from schemas.dump_folder import DumpFolder
from schemas.hidden_states import (
    StoredStates,
    first_state_problem,
    other_rows,
    state_columns,
    stored_states,
)
from schemas.row_group import (
    Lists,
    Offsets,
    list_column,
    nested_column,
    positions,
    span_column,
)
from schemas.shard_reading import ShardFault
from schemas.value_ranges import first_problem
from stage2_student.group_arrays import Entries, GroupArrays, only_positions
from stage2_student.row_index import GroupPlace
from stage2_student.tasks import Tasks, sequences, split_rows
from stage2_student.token_weights import TokenWeights, label_weights, per_token

_OPEN_SHARDS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What of a row group is read.

    Attributes:
        temperatures: the tail mass at each of these.
        tail_sample: the tail draws too.
        train_on: kinds of segments whose tokens are predicted; none stands for all captured ones.
        weights: what the predicted tokens weigh.
        hidden: layers of the teacher whose states are read, from hidden/.
        tasks: what rows are split into.
    """

    temperatures: tuple[float, ...] = (1.0,)
    tail_sample: bool = True
    train_on: tuple[str, ...] = ()
    weights: TokenWeights = field(default_factory=TokenWeights)
    hidden: tuple[str, ...] = ()
    tasks: Tasks = field(default_factory=Tasks)

    @property
    def columns(self) -> list[str]:
        """Names of the columns to read."""
        masses = [temperature_column(t).name for t in self.temperatures]
        tail = ["tail_ids", "tail_logits"] if self.tail_sample else []
        kinds = ["segments"] if self.train_on or self.weights.kinds or self.tasks else []
        verdict = ["verdict"] if self.weights.wrong != 1 else []
        kept = ["topk_ids", "topk_logits", *tail, *masses, "token_logprobs"]
        return ["id", "source", "input_ids", *kinds, "captured", *kept, *verdict]


@dataclass(slots=True, kw_only=True, eq=False)
class _Shard:
    """An open shard of data/ or hidden/; one thread reads it at a time."""

    file: Any = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class ShardReader:
    """Reads row groups of several dumps; keeps shards open that it used last. For threads."""

    def __init__(self, dumps: Sequence[DumpFolder], wanted: Wanted) -> None:
        self._dumps = dumps
        self._wanted = wanted
        self._shards: OrderedDict[tuple[int, str, str], _Shard] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, place: GroupPlace) -> GroupArrays:
        """Reads one row group and checks every number in it.

        Raises:
            DamagedError: the shard is missing or altered, or holds what it must not; names it.
        """
        dump, wanted = self._dumps[place.dump], self._wanted
        with dump.reading(f"{layout.DATA}/{place.shard.name}"):
            table = self._table(place, layout.DATA, wanted.columns)
            problem = first_problem(table, dump.manifest)
            if problem:
                raise ShardFault(f"row group {place.group}: {problem}")
        arrays = group_arrays(table, wanted)
        return replace(arrays, states=self._states(place, table)) if wanted.hidden else arrays

    def _states(self, place: GroupPlace, rows: pa.Table) -> dict[str, StoredStates]:
        dump, layers = self._dumps[place.dump], self._wanted.hidden
        capture = dump.manifest.capture
        with dump.reading(f"{layout.HIDDEN}/{place.shard.name}"):
            table = self._table(place, layout.HIDDEN, state_columns(layers, capture))
            problem = first_state_problem(table, capture) or other_rows(table, rows, layers)
            if problem:
                raise ShardFault(f"row group {place.group}: {problem}")
            return {layer: stored_states(table, layer, capture) for layer in layers}

    def _table(self, place: GroupPlace, folder: str, columns: Sequence[str]) -> pa.Table:
        shard = self._shard(place, folder)
        with shard.lock:
            if shard.file is None:
                dump = self._dumps[place.dump]
                opened = dump.shard_file if folder == layout.DATA else dump.hidden_file
                shard.file = opened(place.shard)
            return shard.file.read_row_group(place.group, columns=list(columns))

    def _shard(self, place: GroupPlace, folder: str) -> _Shard:
        """One that is dropped here closes when nobody reads it any more."""
        with self._lock:
            key = place.dump, folder, place.shard.name
            shard = self._shards.setdefault(key, _Shard())
            self._shards.move_to_end(key)
            if len(self._shards) > _OPEN_SHARDS:
                self._shards.popitem(last=False)
            return shard


def group_arrays(table: pa.Table, wanted: Wanted) -> GroupArrays:
    """The arrays of a table that holds the wanted columns and passed the range checks."""
    tokens = list_column(table, "input_ids")
    captured = positions(span_column(table, "captured"))
    labels = _next_tokens(tokens, captured)
    arrays = GroupArrays(
        ids=table["id"].combine_chunks(),
        sources=table["source"].combine_chunks(),
        tokens=tokens,
        positions=captured,
        origins=labels - 1,
        labels=tokens.values[labels],
        kept=_entries(table, "topk"),
        tail=_entries(table, "tail") if wanted.tail_sample else None,
        tail_logmass={t: _masses(table, t) for t in wanted.temperatures},
        token_logprobs=list_column(table, "token_logprobs").values,
        weights=label_weights(table, wanted.weights, captured, labels),
    )
    if wanted.train_on:
        chosen = per_token(table, dict.fromkeys(wanted.train_on, 1.0), 0.0)[labels] > 0
        arrays = only_positions(arrays, chosen)
    if wanted.tasks:
        arrays = split_rows(arrays, sequences(table, wanted.tasks), wanted.tasks)
    return arrays


def _masses(table: pa.Table, temperature: float) -> npt.NDArray[np.float32]:
    return list_column(table, temperature_column(temperature).name).values


def _entries(table: pa.Table, prefix: str) -> Entries:
    ids = nested_column(table, f"{prefix}_ids")
    logits = nested_column(table, f"{prefix}_logits")
    return Entries(
        starts=ids.inner,
        counts=np.diff(ids.inner),
        ids=POOL.copy(ids.values),
        logits=POOL.copy(logits.values),
    )


def _next_tokens(tokens: Lists, captured: Lists) -> Offsets:
    """[P] where the token after each position stands in the tokens of all rows."""
    starts = np.repeat(tokens.offsets[:-1], np.diff(captured.offsets))
    places: Offsets = starts + captured.values + 1
    return places
