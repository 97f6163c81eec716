"""A row group as arrays: no more columns than wanted, poisoned numbers stopped before a loss."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import layout
from schemas.dump_folder import open_dump
from schemas.errors import DamagedError
from stage2_student.row_index import RowChoice, read_index
from stage2_student.shard_reader import ShardReader, Wanted, group_arrays
from tests.dumps import write_dump


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    return write_dump(tmp_path_factory.mktemp("reader") / "dump", count=24)


def test_only_wanted_columns_are_named() -> None:
    names = Wanted(temperatures=(2.0,), tail_sample=False).columns
    assert "tail_logmass_t2.0" in names
    assert not {"tail_logmass", "tail_ids", "tail_logits", "segments"} & set(names)
    assert {"tail_ids", "tail_logits", "segments"} <= set(Wanted(train_on=("text",)).columns)


def test_entries_let_the_memory_of_arrow_go(dump) -> None:
    table = pq.read_table(dump.path / layout.DATA / dump.manifest.shards[0].name).combine_chunks()
    arrays = group_arrays(table, Wanted())
    values = table["topk_logits"].chunk(0).values.values
    assert np.array_equal(arrays.kept.logits, values.to_numpy())
    assert arrays.kept.logits.ctypes.data != values.buffers()[1].address


def test_a_sliced_table_gives_the_same_rows(dump) -> None:
    table = pq.read_table(dump.path / layout.DATA / dump.manifest.shards[0].name)
    whole, part = group_arrays(table, Wanted()), group_arrays(table.slice(3, 2), Wanted())
    first, last = whole.positions.offsets[[3, 5]]
    assert np.array_equal(part.labels, whole.labels[first:last])
    assert np.array_equal(part.positions.values, whole.positions.values[first:last])
    span = slice(*whole.kept.starts[[first, last]])
    assert np.array_equal(part.kept.ids, whole.kept.ids[span])
    assert part.kept.starts[0] == 0


def _poisoned(table: pa.Table, name: str, value: float) -> pa.Table:
    column = table[name].to_pylist()
    inner = column[0]
    while isinstance(inner[0], list):
        inner = inner[0]
    inner[-1] = value
    schema = table.schema
    where = schema.get_field_index(name)
    return table.set_column(where, schema.field(where), pa.array(column, schema.field(where).type))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("topk_ids", 64),
        ("topk_ids", -1),
        ("input_ids", 1 << 30),
        ("topk_logits", float("nan")),
        ("topk_logits", 5.0),
        ("tail_logmass", 0.5),
        ("token_logprobs", float("-inf")),
    ],
)
def test_poisoned_numbers_do_not_pass(tmp_path, monkeypatch, name: str, value: float) -> None:
    """A shard whose checksums are right and whose numbers are not."""
    dump = write_dump(tmp_path / "dump", count=8)
    opened = open_dump(dump.path)
    place = read_index([opened], RowChoice()).groups[0]
    reader = ShardReader([opened], Wanted())
    table = reader._table(place, "data", Wanted().columns)
    monkeypatch.setattr(reader, "_table", lambda *_: _poisoned(table, name, value))
    with pytest.raises(DamagedError, match=rf"(?s){place.shard.name}.*{name}"):
        reader.read(place)


def test_few_shards_stay_open(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("stage2_student.shard_reader._OPEN_SHARDS", 2)
    dump = write_dump(tmp_path / "dump", count=24, unit_size=4)
    opened = open_dump(dump.path)
    reader = ShardReader([opened], Wanted())
    for place in read_index([opened], RowChoice()).groups:
        assert len(reader.read(place).ids) == 4
        assert len(reader._shards) <= 2
