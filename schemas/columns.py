"""The columns of a shard, declared once as data; schema, encodings and FORMAT.md follow from here.

Inner fields are never null: nullable ones cost up to 60 % of the reading speed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa


def _list(inner: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", inner, nullable=False))


def _struct(**fields: pa.DataType) -> pa.DataType:
    return pa.struct([pa.field(name, kind, nullable=False) for name, kind in fields.items()])


IDS = _list(_list(pa.int32()))
FLOATS = _list(_list(pa.float32()))
PER_POSITION = _list(pa.float32())
SPANS = _list(_struct(start=pa.int32(), end=pa.int32()))
SEGMENTS = _list(_struct(kind=pa.string(), start=pa.int32(), end=pa.int32()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a shard: its Arrow type, its unit and what it means.

    `optional` columns are present only when the dump's plan says so, and then in every shard.
    """

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    optional: bool = False


COLUMNS: tuple[Column, ...] = (
    Column(name="id", type=pa.string(), unit="—", meaning="stable sample id, unique in the dump"),
    Column(name="source", type=pa.string(), unit="—", meaning="corpus and slice the row came from"),
    Column(
        name="input_ids",
        type=_list(pa.int32()),
        unit="token id",
        meaning="the sequence exactly as the teacher saw it, BOS and chat template included",
    ),
    Column(
        name="segments",
        type=SEGMENTS,
        unit="token index",
        meaning="what the tokens are (prompt, response, text, rationale, answer), half-open spans",
    ),
    Column(
        name="captured",
        type=SPANS,
        unit="position",
        meaning="half-open spans of positions that carry signals; position t predicts token t+1",
    ),
    Column(
        name="topk_ids",
        type=IDS,
        unit="token id",
        meaning="per captured position the kept ids, most probable first, ties by lowest id",
    ),
    Column(
        name="topk_logits",
        type=FLOATS,
        unit="nat",
        meaning="logit minus the position's largest logit, rounded within the codec's bound",
    ),
    Column(
        name="tail_logmass",
        type=PER_POSITION,
        unit="nat",
        meaning="log of the probability outside the kept entries at temperature 1",
    ),
    Column(
        name="tail_ids",
        type=IDS,
        unit="token id",
        meaning="tail sample: ids drawn outside the kept entries, S draws per unit of probability",
    ),
    Column(
        name="tail_logits",
        type=FLOATS,
        unit="nat",
        meaning="the draws' logits minus the position's largest logit, rounded like topk_logits",
    ),
    Column(
        name="token_logprobs",
        type=PER_POSITION,
        unit="nat",
        meaning="exact log-probability of the realised next token, kept or not",
    ),
    Column(
        name="max_logit",
        type=PER_POSITION,
        unit="nat",
        meaning="the position's largest logit: the raw scale",
        optional=True,
    ),
    *(
        Column(name=name, type=pa.string(), unit="—", meaning=meaning, optional=True)
        for name, meaning in (
            ("prompt", "the prompt's text"),
            ("response", "the response's text"),
            ("rationale", "the reasoning inside the response"),
            ("answer", "the answer inside the response, as it was compared"),
            ("gold", "what the answer was compared with"),
        )
    ),
    Column(
        name="verdict",
        type=pa.bool_(),
        unit="—",
        meaning="whether the answer agreed with the gold answer; null when that is not known",
        optional=True,
    ),
    *(
        Column(name=name, type=pa.string(), unit="—", meaning=meaning, optional=True)
        for name, meaning in (
            ("finish_reason", "`stop`: the teacher ended the response; `length`: it was cut"),
            ("provenance", "where the prompt came from and what was compared, as JSON"),
            ("origin", "identity of the dump that the row was made in, where several were merged"),
        )
    ),
)

BY_NAME = {column.name: column for column in COLUMNS}

TEXTS = tuple(c.name for c in COLUMNS if c.optional and not pa.types.is_list(c.type))
"""The optional columns with one value a row: what was asked, written and compared."""


def temperature_column(temperature: float) -> Column:
    """The tail mass at one temperature of the grid; `tail_logmass` itself at temperature 1."""
    if temperature == 1.0:
        return BY_NAME["tail_logmass"]
    return Column(
        name=f"tail_logmass_t{float(temperature)}",
        type=PER_POSITION,
        unit="nat",
        meaning=f"log of the probability outside the kept entries at temperature {temperature:g}",
    )


def shard_columns(temperatures: Iterable[float], optional: Iterable[str] = ()) -> list[Column]:
    """The columns of a dump in file order.

    Args:
        temperatures: the grid of the dump; 1 is always present and adds no column of its own.
        optional: names of the optional columns that the dump carries.
    """
    wanted = set(optional)
    columns: list[Column] = []
    for column in COLUMNS:
        if not column.optional or column.name in wanted:
            columns.append(column)
        if column.name == "tail_logmass":
            columns += [temperature_column(t) for t in sorted(set(temperatures) - {1.0})]
    return columns


def hidden_columns(layers: Iterable[str], codec: str, width: int) -> list[Column]:
    """The columns of a shard under hidden/ in file order: the sample's id, then every layer's.

    Args:
        layers: ids as in the capture policy.
        codec: "int8" or "bf16".
        width: elements of one stored state.
    """
    return [
        BY_NAME["id"],
        *(column for layer in layers for column in _layer_columns(layer, codec, width)),
    ]


def _layer_columns(layer: str, codec: str, width: int) -> Iterator[Column]:
    """`hidden_<layer>` is one byte per element in every codec; what completes it stands beside."""
    name, octets = f"hidden_{layer}", _list(pa.binary(width))
    parts = {
        "int8": (
            ("", octets, "per token its codes, int8"),
            ("_scales", PER_POSITION, "per token its scale"),
            ("_channels", PER_POSITION, "the channels' scales"),
        ),
        "bf16": (
            ("", octets, "per token the upper bytes of its bfloat16 numbers"),
            ("_low", octets, "per token their lower bytes"),
        ),
    }
    for ending, kind, meaning in parts[codec]:
        yield Column(name=name + ending, type=kind, unit="—", meaning=meaning)


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """The exact Arrow schema of a shard: names, order, types; nothing nullable but `verdict`."""
    return pa.schema([pa.field(c.name, c.type, nullable=c.name == "verdict") for c in columns])
