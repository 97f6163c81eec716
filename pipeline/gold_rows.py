"""The sequences of a gold sample, each with what the dump holds of it.

Shapes: P captured positions, D hidden width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.dump_folder import DumpFolder
from schemas.errors import DamagedError
from schemas.gold import GoldInfo, GoldSequence, read_sequences
from schemas.manifest import Shard
from schemas.row_group import NestedLists, RowGroup, nested_column
from schemas.value_ranges import check_values
from stage1_teacher.samples import Ragged, Sample, Segment, Signals


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldRow:
    """One sequence.

    Attributes:
        sample: what the teacher saw.
        states: [P, D] the head's input at its captured positions.
        signals: what the dump holds of it, at temperature 1.
    """

    sample: Sample
    states: npt.NDArray[np.float32]
    signals: Signals


def gold_rows(dump: DumpFolder, info: GoldInfo) -> Iterator[GoldRow]:
    """Every sequence of the gold sample, found again in the dump.

    Raises:
        DamagedError: one is not where gold/ says, or has other positions.
    """
    shards = {shard.unit: shard for shard in dump.shards}
    for found in read_sequences(dump, info):
        if found.unit not in shards:
            raise _elsewhere(dump, found)
        table = _row(dump, shards[found.unit], found.row)
        if table is None or table["id"][0].as_py() != found.id:
            raise _elsewhere(dump, found)
        signals = _signals(table)
        if len(signals.token_logprobs) != len(found.states):
            raise _elsewhere(dump, found)
        yield GoldRow(sample=_sample(table), states=found.states, signals=signals)


def _row(dump: DumpFolder, shard: Shard, row: int) -> pa.Table | None:
    file, start = dump.shard_file(shard), 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if start <= row < start + count:
            with dump.reading(shard.name):
                table = file.read_row_group(group)
            check_values(table, dump.manifest, shard.name)
            return table.slice(row - start, 1).combine_chunks()
        start += count
    return None


def _elsewhere(dump: DumpFolder, found: GoldSequence) -> DamagedError:
    return DamagedError(
        f"gold/ of {dump.url} says that {found.id!r} is row {found.row} of unit {found.unit}, with "
        f"{len(found.states)} captured positions, and it is not. It is another dump's gold sample: "
        "remove gold/, or take a fresh copy of it."
    )


def _sample(table: pa.Table) -> Sample:
    row = table.select(["id", "source", "input_ids", "segments", "captured"]).to_pylist()[0]
    return Sample(
        id=row["id"],
        source=row["source"],
        input_ids=np.asarray(row["input_ids"], np.int32),
        segments=tuple(Segment(**segment) for segment in row["segments"]),
        captured=tuple((span["start"], span["end"]) for span in row["captured"]),
    )


def _signals(table: pa.Table) -> Signals:
    """As an engine gives them; the raw scale is not needed here."""
    group = RowGroup.of(table)
    return Signals(
        topk=_ragged(group.topk_ids, group.topk_logits),
        tail=_ragged(group.tail_ids, nested_column(table, "tail_logits")),
        tail_logmass=group.tail_logmass.values[:, None],
        max_logit=np.zeros(len(group.tail_logmass.values), np.float32),
        token_logprobs=group.token_logprobs.values,
    )


def _ragged(ids: NestedLists, logits: NestedLists) -> Ragged:
    return Ragged(offsets=ids.inner, ids=ids.values, logits=logits.values)
