"""Hidden states come back from a shard as they went in; broken ones are told."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.dump_folder import open_dump
from schemas.errors import DamagedError
from schemas.hidden_states import (
    check_states,
    first_state_problem,
    layer_states,
    split_states,
    state_columns,
)
from schemas.manifest import Capture
from tests.dumps import Dump, hidden_policy, write_dump

CODECS = ("int8", "bf16")


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dump]:
    folder = tmp_path_factory.mktemp("hidden")
    return {c: write_dump(folder / c, count=12, capture=hidden_policy(c)) for c in CODECS}


@pytest.fixture(params=CODECS)
def dump(request: pytest.FixtureRequest, dumps: dict[str, Dump]) -> Dump:
    return dumps[request.param]


def tables(dump: Dump) -> list[pa.Table]:
    opened = open_dump(dump.path)
    files = [opened.hidden_file(shard) for shard in opened.shards]
    return [f.read_row_group(group) for f in files for group in range(f.num_row_groups)]


def assert_close(found: np.ndarray, expected: np.ndarray, codec: str) -> None:
    if codec == "bf16":
        np.testing.assert_array_equal(found, expected)
    else:
        lost = np.linalg.norm(found - expected, axis=1)
        assert (lost <= 0.05 * np.linalg.norm(expected, axis=1)).all()


def test_every_layer_of_every_row(dump: Dump) -> None:
    capture, seen = dump.manifest.capture, 0
    for table in tables(dump):
        check_states(table, capture, "x")
        for layer in capture.hidden_layers:
            states = split_states(layer_states(table, layer, capture))
            for own, found in zip(table["id"].to_pylist(), states, strict=True):
                assert_close(found, dump.hidden[own][layer], str(capture.hidden_codec))
                seen += 1
    assert seen == 12 * 3


def test_a_slice_and_several_chunks_are_read_alike(dump: Dump) -> None:
    capture = dump.manifest.capture
    whole = pa.concat_tables(tables(dump))
    assert whole["hidden_2"].num_chunks > 1
    states = layer_states(whole, "2", capture)
    part = layer_states(whole.slice(3, 4), "2", capture)
    check_states(whole.slice(3, 4), capture, "x")
    np.testing.assert_array_equal(part.values, states.values[states.offsets[3] : states.offsets[7]])


def test_only_the_columns_of_the_layers_asked_for(dump: Dump) -> None:
    names = state_columns(["last"], dump.manifest.capture)
    table = tables(dump)[0].select(names)
    check_states(table, dump.manifest.capture, "x")
    assert layer_states(table, "last", dump.manifest.capture).values.shape[1] == 6
    assert names[0] == "id" and all("last" in name for name in names[1:])


def with_rows(table: pa.Table, name: str, change: Any) -> pa.Table:
    values = table[name].to_pylist()
    change(values)
    field = table.schema.field(name)
    index = table.schema.get_field_index(name)
    return table.set_column(index, field, pa.array(values, field.type))


def put(row: int, index: int, value: Any) -> Any:
    return lambda rows: rows[row].__setitem__(index, value)


POISON = [
    ("bf16", "hidden_2", put(1, 0, b"\x7f" * 6), "hidden_2 holds a number that is not finite"),
    ("bf16", "hidden_2_low", lambda rows: rows[0].pop(), "how many tokens"),
    ("int8", "hidden_2_scales", lambda rows: rows[0].pop(), "how many tokens"),
    ("int8", "hidden_2_scales", put(0, 0, -1.0), "a scale is negative"),
    ("int8", "hidden_2_scales", put(0, 0, np.nan), "not finite"),
    ("int8", "hidden_2_scales", put(0, 0, 3e38), "not finite"),
    ("int8", "hidden_2_channels", put(0, 5, 0.0), "a scale"),
    ("int8", "hidden_2_channels", put(0, 5, np.inf), "not finite"),
    ("int8", "hidden_2_channels", lambda rows: rows[1].append(1.0), "one number per element"),
]


@pytest.mark.parametrize(("codec", "name", "change", "words"), POISON)
def test_poison_is_found(
    dumps: dict[str, Dump], codec: str, name: str, change: Any, words: str
) -> None:
    capture, table = dumps[codec].manifest.capture, tables(dumps[codec])[0]
    if codec == "bf16" and name == "hidden_2":
        table = with_rows(table, "hidden_2_low", put(1, 0, b"\x80" * 6))
    poisoned = with_rows(table, name, change)
    assert words in str(first_state_problem(poisoned, capture))
    with pytest.raises(DamagedError, match=r"potstill verify"):
        check_states(poisoned, capture, "part-0")


def test_the_widest_finite_numbers_are_fine() -> None:
    capture = Capture(hidden_layers=["0"], hidden_codec="bf16", hidden_width=1)
    states = pa.array([[b"\x7f", b"\xff"]], pa.list_(pa.binary(1)))
    low = pa.array([[b"\x7f", b"\x00"]], pa.list_(pa.binary(1)))
    table = pa.table({"id": ["a"], "hidden_0": states, "hidden_0_low": low})
    assert first_state_problem(table, capture) is None
