"""The index: lengths from segments, groups of all shards; what does not cover is damage."""

import dataclasses

import pyarrow as pa
import pytest

from schemas.columns import BY_NAME, arrow_schema
from schemas.dump_folder import open_dump
from schemas.errors import DamagedError
from stage2_student.row_index import RowChoice, read_index, row_lengths
from stage2_student.stream import StreamSettings, open_stream
from tests.dumps import make_samples, write_dump


def table_of(*rows: list[tuple[int, int]]) -> pa.Table:
    schema = arrow_schema([BY_NAME["segments"]])
    spans = [[{"kind": "text", "start": s, "end": e} for s, e in row] for row in rows]
    return pa.table({"segments": pa.array(spans, schema.field(0).type)}, schema)


def test_lengths_are_the_ends_of_the_last_segments() -> None:
    assert row_lengths(table_of([(0, 3), (3, 9)], [(0, 1)])).tolist() == [9, 1]
    sliced = table_of([(0, 3), (3, 9)], [(0, 1)], [(0, 4)]).slice(1)
    assert row_lengths(sliced).tolist() == [1, 4]


@pytest.mark.parametrize(
    "row", [[], [(1, 3)], [(0, 3), (4, 9)], [(0, 3), (2, 9)], [(0, 3), (3, 3)], [(0, 0)]]
)
def test_segments_that_do_not_cover_are_damage(row: list[tuple[int, int]]) -> None:
    with pytest.raises(DamagedError, match="segments"):
        row_lengths(table_of([(0, 5)], row, [(0, 5)]))


def test_the_index_is_the_dump(tmp_path) -> None:
    dump = write_dump(tmp_path / "dump", count=21, unit_size=8, rows_per_group=3)
    index = read_index([open_dump(dump.path)], RowChoice())
    assert len(index.groups) == 3 + 3 + 2
    lengths = [len(sample.input_ids) for sample in dump.samples.values()]
    assert index.length_R.tolist() == lengths
    assert index.longest == max(lengths)
    assert index.row_R.tolist() == [0, 1, 2, 0, 1, 2, 0, 1] * 2 + [0, 1, 2, 0, 1]


def test_the_longest_row_is_the_same_on_both_sides(tmp_path) -> None:
    dump = write_dump(tmp_path / "dump", count=40)
    sides = [
        read_index([open_dump(dump.path)], RowChoice(part=part, held_out=0.5))
        for part in ("train", "held_out")
    ]
    assert len(sides[0]) + len(sides[1]) == 40
    assert sides[0].longest == sides[1].longest


def test_a_shard_whose_segments_do_not_cover_is_named(tmp_path, monkeypatch) -> None:
    samples = make_samples(8)
    short = dataclasses.replace(samples[5].segments[-1], end=2)
    samples[5] = dataclasses.replace(samples[5], segments=(short,), captured=((0, 1),))
    monkeypatch.setattr("tests.dumps.make_samples", lambda *_: samples)
    dump = write_dump(tmp_path / "dump", count=8)
    opened = open_dump(dump.path)
    name = dump.manifest.shards[0].name
    with pytest.raises(DamagedError, match=name):
        list(open_stream([opened], StreamSettings(rows_per_step=2, part="all")).epoch_batches())
    gap = dataclasses.replace(short, start=1)
    samples[5] = dataclasses.replace(samples[5], segments=(gap,))
    dump = write_dump(tmp_path / "gap", count=8)
    with pytest.raises(DamagedError, match=rf"{name}.*segments"):
        read_index([open_dump(dump.path)], RowChoice())
