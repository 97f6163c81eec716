"""Runs the teacher over one unit and writes its shard, holding a chunk of samples at a time.

Where the rows come from is the caller's affair: `CapturedRows` here are of texts that exist,
`generated_rows.py` has those that the teacher writes.

The engine sorts a chunk by length as it likes; rows are written in the corpus's order, so a shard
does not depend on batching.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from schemas.codecs import Codec
from schemas.columns import Column
from schemas.errors import DamagedError
from schemas.manifest import Capture
from schemas.shard_sums import ShardSums
from schemas.shards import ROWS_PER_GROUP, TOKENS_PER_GROUP, open_shard
from stage1_teacher.commit import Attempt
from stage1_teacher.engine import Engine
from stage1_teacher.hidden_tables import HiddenRecipe, hidden_table
from stage1_teacher.responses import Tally
from stage1_teacher.samples import Sample, Signals
from stage1_teacher.set_aside import Aside, answered
from stage1_teacher.shard_tables import Row, shard_table

_CHUNK_BYTES = 256 << 20
_BYTES_PER_ENTRY = 8

Tick = Callable[[int], None]
"""Told the tokens of every sample as soon as the teacher has seen it."""


def _as_it_is(row: Row) -> Row:
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How signals become a shard.

    Attributes:
        capture: what is kept.
        codec: how numbers are rounded.
        columns: the shard's columns in file order.
        seed: of the tail sample.
        hidden: how hidden states are stored; None when none are.
        batch_tokens: token budget of one forward pass.
        finish: what is done to every row before it is written.
    """

    capture: Capture
    codec: Codec
    columns: list[Column]
    seed: int
    hidden: HiddenRecipe | None
    batch_tokens: int
    finish: Callable[[Row], Row] = _as_it_is

    @property
    def chunk_tokens(self) -> int:
        """Tokens given to the engine at once: enough to sort by length, bounded in memory."""
        entries = self.capture.top_k + self.capture.tail_samples
        hidden = 2 * self.hidden.width * len(self.hidden.layers) if self.hidden else 0
        fitting = _CHUNK_BYTES // (_BYTES_PER_ENTRY * entries + hidden)
        return max(self.batch_tokens, min(16 * self.batch_tokens, fitting))


class RowSource(Protocol):
    """Where the rows of a unit come from: texts that exist, or responses that are written."""

    def cost(self, sample: Sample) -> int:
        """Tokens that the teacher will see because of a sample, or at most."""
        ...

    def rows(self, samples: Sequence[Sample], notes: "Notes", tick: Tick) -> Iterator[Row]:
        """Rows of a unit, in order; what becomes of the others stands in `notes`."""
        ...


@dataclass(frozen=True, slots=True)
class Notes:
    """What is noted about a unit besides its rows: responses by outcome, samples that failed."""

    tally: Tally = field(default_factory=Tally)
    aside: Aside = field(default_factory=lambda: Aside(0))


def write_unit(
    attempt: Attempt, rows: Iterable[Row], recipe: Recipe, aside: Aside | None = None
) -> ShardSums:
    """Writes the shard of `rows` (and that of their hidden states) into `attempt`.

    Rows that no reader would take go into `aside`, as far as it allows that.

    Returns:
        The sums over the shard, its alignment self-test passed.

    Raises:
        DamagedError: the engine gave bad numbers, or its signals are not aligned with the ids.
    """
    sums = ShardSums()

    def footer() -> dict[str, Any]:
        return attempt.footer(sums.rows, sums.tokens)

    with ExitStack() as files:
        write = files.enter_context(open_shard(attempt.sink, recipe.columns, footer))
        write_hidden = _open_hidden(attempt, recipe, footer, files)
        for group, table in _tables(attempt, map(recipe.finish, rows), recipe, aside or Aside(0)):
            sums.add(table)
            write(table)
            write_hidden(group)
    sums.check()
    return sums


def _tables(
    attempt: Attempt, rows: Iterable[Row], recipe: Recipe, aside: Aside
) -> Iterator[tuple[list[Row], pa.Table]]:
    """Row groups as tables that every reader will take."""
    for group in row_groups(rows):
        try:
            yield group, _table(attempt, group, recipe)
        except DamagedError:
            if not aside.active:
                raise
            sound = [row for row in group if _sound(attempt, row, recipe, aside)]
            if sound:
                yield sound, _table(attempt, sound, recipe)


def _table(attempt: Attempt, group: Sequence[Row], recipe: Recipe) -> pa.Table:
    table = shard_table(group, recipe.columns, recipe.capture, recipe.codec)
    attempt.check(table)
    return table


def _sound(attempt: Attempt, row: Row, recipe: Recipe, aside: Aside) -> bool:
    try:
        _table(attempt, [row], recipe)
    except DamagedError as error:
        aside.add(row[0].id, "store", error)
        return False
    return True


def _open_hidden(
    attempt: Attempt, recipe: Recipe, footer: Callable[[], dict[str, Any]], files: ExitStack
) -> Callable[[Sequence[Row]], None]:
    hidden = recipe.hidden
    if hidden is None:
        return lambda rows: None
    write = files.enter_context(open_shard(attempt.hidden_sink, hidden.columns, footer))
    return lambda rows: write(hidden_table(rows, hidden))


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedRows:
    """Samples with what the teacher knew of them."""

    engine: Engine
    recipe: Recipe

    def cost(self, sample: Sample) -> int:
        """Its length."""
        return len(sample.input_ids)

    def rows(self, samples: Sequence[Sample], notes: Notes, tick: Tick) -> Iterator[Row]:
        """One row per sample, in order.

        Raises:
            DamagedError: the engine left one out, or some of its positions.
        """
        for chunk in chunks(samples, self.recipe.chunk_tokens, self.cost):
            signals: list[Signals | None] = [None] * len(chunk)
            for index, found in answered(self._capture, chunk, sample_id, notes.aside):
                signals[index] = found
                tick(len(chunk[index].input_ids))
            failed = {failure.id for failure in notes.aside.failures}
            for index, sample in enumerate(chunk):
                if signals[index] is None and sample.id in failed:
                    continue
                found, signals[index] = complete(sample, signals[index]), None
                yield sample, found

    def _capture(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Signals]]:
        return self.engine.capture(samples, self.recipe.capture, self.recipe.seed)


def sample_id(sample: Sample) -> str:
    """How a sample that failed is called."""
    return sample.id


def chunks(
    samples: Sequence[Sample], tokens: int, cost: Callable[[Sample], int]
) -> Iterator[Sequence[Sample]]:
    """Cuts samples, in order, into runs that cost `tokens` at most, but of one sample at least."""
    start, held = 0, 0
    for index, sample in enumerate(samples):
        length = cost(sample)
        if index > start and held + length > tokens:
            yield samples[start:index]
            start, held = index, 0
        held += length
    if start < len(samples):
        yield samples[start:]


def row_groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cuts rows, in order, into row groups of at most 64 sequences or about 20,000 tokens."""
    group: list[Row] = []
    held = 0
    for row in rows:
        length = len(row[0].input_ids)
        if group and (len(group) == ROWS_PER_GROUP or held + length > TOKENS_PER_GROUP):
            yield group
            group, held = [], 0
        group.append(row)
        held += length
    if group:
        yield group


def complete(sample: Sample, signals: Signals | None) -> Signals:
    """Checks that the engine answered, and for every captured position.

    Raises:
        DamagedError: it did not.
    """
    expected = sum(end - start for start, end in sample.captured)
    counts = () if signals is None else _counts(signals)
    if signals is None or counts != (expected,) * len(counts):
        raise DamagedError(
            f"the engine left sample {sample.id!r} incomplete: {expected} captured positions, "
            f"signals for {counts or 'none'}. This is a bug in the engine; please report it."
        )
    return signals


def _counts(signals: Signals) -> tuple[int, ...]:
    ragged = (len(signals.topk.offsets) - 1, len(signals.tail.offsets) - 1)
    flat = (signals.tail_logmass, signals.max_logit, signals.token_logprobs)
    return (*ragged, *(len(values) for values in flat))
