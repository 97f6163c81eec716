"""The columns as golden text: a change here is a change of the format."""

import numpy as np
import pyarrow as pa
import pytest

from schemas.columns import (
    COLUMNS,
    arrow_schema,
    hidden_columns,
    shard_columns,
    temperature_column,
)

GOLDEN = """
id: string not null
source: string not null
input_ids: list<element: int32 not null> not null
segments: list<element: struct<kind: string not null, start: int32 not null, end: int32 not null> not null> not null
captured: list<element: struct<start: int32 not null, end: int32 not null> not null> not null
topk_ids: list<element: list<element: int32 not null> not null> not null
topk_logits: list<element: list<element: float not null> not null> not null
tail_logmass: list<element: float not null> not null
tail_logmass_t2.0: list<element: float not null> not null
tail_ids: list<element: list<element: int32 not null> not null> not null
tail_logits: list<element: list<element: float not null> not null> not null
token_logprobs: list<element: float not null> not null
""".strip()  # noqa: E501


def lines(schema: pa.Schema) -> str:
    return "\n".join(str(field).replace("pyarrow.Field<", "").removesuffix(">") for field in schema)


def test_the_default_columns() -> None:
    assert lines(arrow_schema(shard_columns([1.0, 2.0]))) == GOLDEN


def test_optional_columns_keep_the_file_order() -> None:
    names = [c.name for c in shard_columns([1.0], ["verdict", "max_logit", "answer"])]
    assert names[-4:] == ["token_logprobs", "max_logit", "answer", "verdict"]
    schema = arrow_schema(shard_columns([1.0], ["verdict", "answer"]))
    assert schema.field("verdict").nullable and not schema.field("answer").nullable


@pytest.mark.parametrize(
    ("temperature", "name"),
    [
        (1.0, "tail_logmass"),
        (1, "tail_logmass"),
        (2, "tail_logmass_t2.0"),
        (1.5, "tail_logmass_t1.5"),
        (0.25, "tail_logmass_t0.25"),
        (1234567.0, "tail_logmass_t1234567.0"),
    ],
)
def test_temperatures_have_names(temperature: float, name: str) -> None:
    assert temperature_column(temperature).name == name


def test_temperatures_are_ascending_and_once() -> None:
    names = [c.name for c in shard_columns([4.0, 1.0, 2.0, 2.0])]
    at = names.index("tail_logmass")
    assert names[at : at + 4] == [
        "tail_logmass",
        "tail_logmass_t2.0",
        "tail_logmass_t4.0",
        "tail_ids",
    ]


HIDDEN = {
    "int8": """
id: string not null
hidden_12: list<element: fixed_size_binary[8] not null> not null
hidden_12_scales: list<element: float not null> not null
hidden_12_channels: list<element: float not null> not null
hidden_last: list<element: fixed_size_binary[8] not null> not null
hidden_last_scales: list<element: float not null> not null
hidden_last_channels: list<element: float not null> not null
""",
    "bf16": """
id: string not null
hidden_12: list<element: fixed_size_binary[8] not null> not null
hidden_12_low: list<element: fixed_size_binary[8] not null> not null
hidden_last: list<element: fixed_size_binary[8] not null> not null
hidden_last_low: list<element: fixed_size_binary[8] not null> not null
""",
}


@pytest.mark.parametrize("codec", HIDDEN)
def test_hidden_states_are_a_byte_per_element_and_what_completes_it(codec: str) -> None:
    schema = arrow_schema(hidden_columns(["12", "last"], codec, 8))
    assert lines(schema) == HIDDEN[codec].strip()


def test_every_column_says_what_it_means() -> None:
    assert len({c.name for c in COLUMNS}) == len(COLUMNS)
    assert all(c.unit and c.meaning and not c.meaning.endswith(".") for c in COLUMNS)
    assert np.all([c.type is not None for c in COLUMNS])
