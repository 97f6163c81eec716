"""Poisoned values are caught before a loss sees them; a projection is checked as far as it goes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import DamagedError
from schemas.manifest import Capture
from schemas.value_ranges import check_values
from tests.dumps import Dump, write_dump


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    capture = Capture(top_k=8, tail_samples=32, optional_columns=["max_logit"])
    return write_dump(tmp_path_factory.mktemp("d") / "dump", count=8, capture=capture)


def table_of(dump: Dump) -> pa.Table:
    return pq.read_table(dump.path / "data" / dump.manifest.shards[0].name)


def with_rows(table: pa.Table, name: str, change: Callable[[list[Any]], None]) -> pa.Table:
    """The table after `change` of the list of all rows' values of one column, in place."""
    values = table[name].to_pylist()
    change(values)
    field = table.schema.field(name)
    index = table.schema.get_field_index(name)
    return table.set_column(index, field, pa.array(values, field.type))


def put(row: int, position: int, value: Any, entry: int | None = None) -> Any:
    def change(rows: list[Any]) -> None:
        if entry is None:
            rows[row][position] = value
        else:
            rows[row][position][entry] = value

    return change


def test_a_good_table_passes_whole_and_in_parts(dump: Dump) -> None:
    table = table_of(dump)
    check_values(table, dump.manifest, "x")
    check_values(table.slice(3, 2), dump.manifest, "x")
    check_values(table.slice(0, 0), dump.manifest, "x")
    for name in table.column_names:
        check_values(table.select([name]), dump.manifest, "x")
    check_values(pa.concat_tables([table, table]), dump.manifest, "x")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("input_ids", put(1, 0, 64), "the id 64, and the teacher's head has 64 rows"),
        ("input_ids", put(1, 0, -1), "the id -1"),
        ("topk_ids", put(2, 1, 1 << 30, entry=0), "the id 1073741824"),
        ("topk_ids", put(2, 1, -5, entry=0), "the id -5"),
        ("topk_logits", put(0, 0, np.nan, entry=1), "not finite"),
        ("topk_logits", put(0, 0, -np.inf, entry=-1), "not finite"),
        ("topk_logits", put(0, 0, 0.25, entry=0), "holds 0.25"),
        ("topk_logits", put(0, 0, -0.5, entry=0), "begin with its largest"),
        ("topk_logits", put(0, 0, -0.01, entry=-1), "not descending"),
        ("tail_logmass", put(0, 0, 0.5), "tail_logmass holds 0.5"),
        ("tail_logmass", put(0, 0, 0.0), "nothing would be left"),
        ("tail_logmass", put(0, 0, np.nan), "not finite"),
        ("tail_logmass_t2.0", put(0, 0, 0.5), "tail_logmass_t2.0 holds 0.5"),
        ("token_logprobs", put(0, 0, 0.5), "token_logprobs holds 0.5"),
        ("token_logprobs", put(0, 0, -np.inf), "not finite"),
        ("max_logit", put(0, 0, np.inf), "not finite"),
        ("token_logprobs", lambda rows: rows[3].append(-1.0), "how many positions"),
        ("topk_ids", lambda rows: rows[3].append([1]), "how many positions"),
        ("topk_ids", lambda rows: rows[3][0].append(1), "how many entries"),
        ("topk_logits", lambda rows: rows[3].__setitem__(0, []), "how many entries"),
        ("captured", put(0, 0, {"start": 0, "end": 999}), "past the last position"),
        ("captured", put(0, 0, {"start": -1, "end": 1}), "past the last position"),
        ("captured", put(0, 0, {"start": 1, "end": 1}), "a span is empty"),
        ("segments", lambda rows: rows[2].clear(), "a row has none"),
        ("segments", put(1, -1, {"kind": "x", "start": 1, "end": 999}), "do not cover a row"),
        ("segments", put(1, 0, {"kind": "x", "start": 1, "end": 2}), "do not cover a row"),
        ("segments", lambda rows: rows[1].reverse(), "do not cover a row"),
    ],
)
def test_poison(dump: Dump, name: str, change: Any, message: str) -> None:
    poisoned = with_rows(table_of(dump), name, change)
    with pytest.raises(DamagedError, match=message) as caught:
        check_values(poisoned, dump.manifest, "part-7")
    assert "part-7" in str(caught.value) and "potstill verify" in str(caught.value)


def test_spans_that_overlap(dump: Dump) -> None:
    def split(rows: list[Any]) -> None:
        end = rows[0][0]["end"]
        rows[0] = [{"start": 1, "end": end}, {"start": 0, "end": 1}]

    with pytest.raises(DamagedError, match="overlap or are out of order"):
        check_values(with_rows(table_of(dump), "captured", split), dump.manifest, "x")


def test_more_entries_than_the_policy_allows(dump: Dump) -> None:
    capture = dump.manifest.capture
    for changes, message in (({"top_k": 2}, "1 to 2 are allowed"), ({"tail_samples": 0}, "draws")):
        manifest = dump.manifest.model_copy(update={"capture": capture.model_copy(update=changes)})
        with pytest.raises(DamagedError, match=message):
            check_values(table_of(dump), manifest, "x")


def test_both_logits_columns_without_their_ids(dump: Dump) -> None:
    def empty(rows: list[Any]) -> None:
        rows[0][0] = []

    table = with_rows(table_of(dump), "topk_logits", empty).select(["topk_logits"])
    with pytest.raises(DamagedError, match="keeps 0 to 8 entries"):
        check_values(table, dump.manifest, "x")
