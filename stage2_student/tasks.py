"""Rationale and answer as two tasks ("Distilling step-by-step", Hsieh et al. 2023, 2305.02301).

A row in which the teacher thought and then answered becomes two sequences:

    [prefix] prompt rationale
    [prefix] prompt answer …

so that a student answers without thinking first, and learned from the thoughts all the same. What
the teacher said at each token of the rationale and of the answer is stored with the row; only the
tokens before them change. So the targets of an answer are those of a teacher that had thought. What
follows the answer (markup, the end of the turn) stays with it. Rows without both are read whole.

Shapes: R rows, S segments, Q sequences of a row group, P positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.row_group import Lists, Offsets, span_column
from stage2_student.group_arrays import GroupArrays, only_positions
from stage2_student.kind_weights import kind_weights
from stage2_student.task_settings import TASKS, task_prefixes

_WHOLE = -1
_RESPONSE = (*TASKS, "response")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """The tasks that rows are split into; the default reads rows whole.

    Attributes:
        weights: what a sequence of each task weighs, whatever its length.
        prefixes: token ids before its prompt.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    prefixes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether rows are split at all."""
        return bool(self.weights)

    def jsonable(self) -> dict[str, Any]:
        """As it comes back out of JSON."""
        return {
            "weights": dict(self.weights),
            "prefixes": {n: list(p) for n, p in self.prefixes.items()},
        }

    def prefix(self, task: int) -> tuple[int, ...]:
        """The prefix of a number of `TASKS`."""
        return () if task == _WHOLE else self.prefixes.get(TASKS[task], ())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sequences:
    """How the rows of a row group are read: Q sequences, by row and by their place in it.

    Attributes:
        row_Q: the row.
        task_Q: a number of `TASKS`, or −1 for the whole row.
        prompt_Q: tokens of the row that it begins with.
        before_Q: how many of these stand before the prefix.
        start_Q: where its own tokens begin.
        end_Q: where they end.
        prefix_Q: tokens of the prefix.
    """

    row_Q: Offsets
    task_Q: Offsets
    prompt_Q: Offsets
    before_Q: Offsets
    start_Q: Offsets
    end_Q: Offsets
    prefix_Q: Offsets

    @property
    def length_Q(self) -> Offsets:
        """Tokens of each."""
        return self.prompt_Q + self.prefix_Q + self.end_Q - self.start_Q

    @property
    def shift_Q(self) -> Offsets:
        """What its own tokens are moved by."""
        return self.prompt_Q + self.prefix_Q - self.start_Q


def tasks_of(settings: Any, tokenizer: Any) -> Tasks:
    """What the settings of a training say; prefixes as the student's tokenizer writes them."""
    weights = {name: weight for name, weight in kind_weights(settings.tasks).items() if weight}
    texts = task_prefixes(settings.task_prefixes)
    prefixes = {
        name: tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        for name, text in texts.items()
    }
    return Tasks(weights=weights, prefixes=prefixes)


def sequences(table: pa.Table, tasks: Tasks) -> Sequences:
    """How the rows of a table with the column `segments` are read."""
    segments = _Segments(table)
    rationale, answer = segments.last("rationale"), segments.last("answer")
    turn = segments.turn(rationale)
    split_R = (rationale >= 0) & (answer >= 0) & (turn == segments.turn(answer))
    own = np.flatnonzero(split_R)
    starts = {"rationale": segments.starts[rationale], "answer": segments.starts[answer]}
    after = starts["answer"] < starts["rationale"]
    ends = {
        "rationale": segments.ends[rationale],
        "answer": np.where(after, starts["rationale"], segments.lengths),
    }
    prompt, before = segments.starts[turn], segments.question(turn)
    whole, nothing = np.flatnonzero(~split_R), np.zeros(int((~split_R).sum()), np.int64)
    parts = [(whole, nothing + _WHOLE, nothing, nothing, nothing, segments.lengths[whole])]
    for number, task in enumerate(TASKS):
        if tasks.weights.get(task):
            numbers = np.full(len(own), number)
            parts.append(
                (own, numbers, prompt[own], before[own], starts[task][own], ends[task][own])
            )
    return _in_order([np.concatenate(column) for column in zip(*parts, strict=True)], tasks)


def split_rows(arrays: GroupArrays, parts: Sequences, tasks: Tasks) -> GroupArrays:
    """The arrays of the sequences instead of the rows: tokens, positions and weights of each."""
    first_Q, last_Q = _own_positions(arrays.positions, parts)
    counts = last_Q - first_Q
    chosen = np.zeros(len(arrays.labels), bool)
    for first, last in zip(first_Q.tolist(), last_Q.tolist(), strict=True):
        chosen[first:last] = True
    found = only_positions(arrays, chosen)
    return replace(
        found,
        ids=arrays.ids.take(pa.array(parts.row_Q)),
        sources=arrays.sources.take(pa.array(parts.row_Q)),
        tokens=_tokens(arrays.tokens, parts, tasks),
        positions=Lists(
            offsets=np.concatenate([[0], np.cumsum(counts)]),
            values=found.positions.values + np.repeat(parts.shift_Q, counts),
        ),
        weights=_weights(found, parts, counts, tasks),
    )


class _Segments:
    """The segments of a table, by their numbers over all rows; −1 stands for none.

    A turn is a run of segments that are all of a response. A prompt may have some of its own, as
    examples, so the turn that counts is the last one.
    """

    def __init__(self, table: pa.Table) -> None:
        self._offsets, starts, ends = span_column(table, "segments")
        kinds = table["segments"].combine_chunks().values.field("kind").dictionary_encode()
        self.starts, self.ends = starts.astype(np.int64), ends.astype(np.int64)
        self.lengths = self.ends[self._offsets[1:] - 1]
        self._names = kinds.dictionary.to_pylist()
        self._kind_S = kinds.indices.to_numpy(zero_copy_only=False)
        said_S = self._of(*_RESPONSE)
        begins_S = said_S & ~np.concatenate([[False], said_S[:-1]])
        begins_S[self._offsets[:-1]] = said_S[self._offsets[:-1]]
        self._turn_S = _latest(begins_S)
        self._question_S = _latest(self._of("prompt"))

    def last(self, kind: str) -> Offsets:
        """[R] the last segment of a kind."""
        if not len(self.lengths):
            return np.zeros(0, np.int64)
        found: Offsets = _latest(self._of(kind))[self._offsets[1:] - 1]
        return np.where(found >= self._offsets[:-1], found, -1)

    def turn(self, segment_R: Offsets) -> Offsets:
        """[R] the first segment of the turn that a segment of each row is in."""
        return np.where(segment_R >= 0, self._turn_S[segment_R], -1)

    def question(self, turn_R: Offsets) -> Offsets:
        """[R] where the last prompt before a turn begins in its row; 0 where there is none."""
        found = self._question_S[turn_R]
        return np.where(found >= self._offsets[:-1], self.starts[found], 0)

    def _of(self, *kinds: str) -> npt.NDArray[np.bool_]:
        wanted = np.asarray([name in kinds for name in self._names], bool)
        found: npt.NDArray[np.bool_] = wanted[self._kind_S]
        return found


def _latest(marked_S: npt.NDArray[np.bool_]) -> Offsets:
    """[S] the last marked segment up to each one, −1 where there is none."""
    found: Offsets = np.maximum.accumulate(np.where(marked_S, np.arange(len(marked_S)), -1))
    return found


def _in_order(columns: list[npt.NDArray[Any]], tasks: Tasks) -> Sequences:
    order = np.lexsort((columns[4], columns[0]))
    row_Q, task_Q, prompt_Q, before_Q, start_Q, end_Q = (column[order] for column in columns)
    sizes = np.asarray([len(tasks.prefix(task)) for task in (*range(len(TASKS)), _WHOLE)])
    return Sequences(
        row_Q=row_Q,
        task_Q=task_Q,
        prompt_Q=prompt_Q,
        before_Q=before_Q,
        start_Q=start_Q,
        end_Q=end_Q,
        prefix_Q=sizes[task_Q],
    )


def _own_positions(positions: Lists, parts: Sequences) -> tuple[Offsets, Offsets]:
    """[Q] from and to which of the positions predict a sequence's own tokens."""
    firsts, lasts = np.empty(len(parts.row_Q), np.int64), np.empty(len(parts.row_Q), np.int64)
    for q, row in enumerate(parts.row_Q.tolist()):
        begin, end = positions.offsets[row : row + 2].tolist()
        span = [parts.start_Q[q] - 1, parts.end_Q[q] - 1]
        firsts[q], lasts[q] = begin + np.searchsorted(positions.values[begin:end], span)
    return firsts, lasts


def _tokens(tokens: Lists, parts: Sequences, tasks: Tasks) -> Lists:
    pieces = [np.zeros(0, np.int32)]
    for q, row in enumerate(parts.row_Q.tolist()):
        own = tokens.values[tokens.offsets[row] : tokens.offsets[row + 1]]
        before, prompt = int(parts.before_Q[q]), int(parts.prompt_Q[q])
        prefix = np.asarray(tasks.prefix(int(parts.task_Q[q])), np.int32)
        pieces += [own[:before], prefix, own[before:prompt], own[parts.start_Q[q] : parts.end_Q[q]]]
    return Lists(
        offsets=np.concatenate([[0], np.cumsum(parts.length_Q)]), values=np.concatenate(pieces)
    )


def _weights(
    found: GroupArrays, parts: Sequences, counts: Offsets, tasks: Tasks
) -> npt.NDArray[np.float32]:
    """[P] each sequence weighs what its task weighs; its positions share that by their weights."""
    weights = np.ones(len(found.labels)) if found.weights is None else found.weights
    sequence_P = np.repeat(np.arange(len(counts)), counts)
    sums_Q = np.bincount(sequence_P, weights, minlength=len(counts))
    of_task = np.asarray([*(tasks.weights.get(task, 0.0) for task in TASKS), 1.0])
    share_Q = of_task[parts.task_Q] / np.where(sums_Q > 0, sums_Q, 1)
    shared: npt.NDArray[np.float32] = (weights * share_Q[sequence_P]).astype(np.float32)
    return shared
