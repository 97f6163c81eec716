"""The gold sample: what reproduces a teacher's full distributions at some positions of a dump.

    gold/gold.json       what is there
    gold/head.parquet    the output head's matrix, a row per token id
    gold/states.parquet  the head's input at every captured position of some sequences

logits = cap(scale · (state · headᵀ + bias)), where cap(x) = softcap · tanh(x / softcap). FORMAT.md
section 12 specifies it. It is an audit's material and not part of the contract: nothing in
manifest.json names it, and no training reads it.

Shapes: V rows of the head, D hidden width, P captured positions of a sequence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from schemas import layout
from schemas.dump_folder import DumpFolder
from schemas.dump_search import read_small
from schemas.errors import DamagedError, InputError
from schemas.manifest import Count, Sha256, Strict
from schemas.shard_reading import open_parquet
from schemas.strict_json import parse_model

Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint16]
Width = Annotated[int, Field(ge=1)]
Dtype = Literal["float32", "bfloat16"]

_BYTES = {"float32": 4, "bfloat16": 2}


class GoldFile(Strict):
    """One file under gold/."""

    bytes: Count
    sha256: Sha256


class GoldInfo(Strict):
    """gold.json.

    `plan` is the dump's. `logits_dtype` is in which the engine computed logits; `dtype` in which
    head and states are stored, losing nothing. `softcap` is null without one.
    """

    format_version: Literal[1] = 1
    plan: Sha256
    sequences: Count
    positions: Count
    head_rows: Width
    hidden_width: Width
    dtype: Dtype
    logits_dtype: Dtype
    scale: Annotated[float, Field(gt=0)] = 1.0
    softcap: Annotated[float, Field(gt=0)] | None = None
    bias: bool = False
    head: GoldFile
    states: GoldFile


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldSequence:
    """One sequence: where it stands in the dump, and the head's input at its positions.

    Attributes:
        id: its sample id.
        unit: of its shard.
        row: its row in the shard.
        states: [P, D].
    """

    id: str
    unit: int
    row: int
    states: Floats


def head_schema(info: GoldInfo) -> pa.Schema:
    """The Arrow schema of head.parquet."""
    fields = [_field("row", pa.binary(info.hidden_width * _BYTES[info.dtype]))]
    return pa.schema([*fields, *([_field("bias", pa.float32())] if info.bias else [])])


def states_schema(info: GoldInfo) -> pa.Schema:
    """The Arrow schema of states.parquet."""
    octets = pa.binary(info.hidden_width * _BYTES[info.dtype])
    return pa.schema(
        [
            _field("id", pa.string()),
            _field("unit", pa.int32()),
            _field("row", pa.int32()),
            _field("states", pa.list_(_field("element", octets))),
        ]
    )


def read_gold_info(dump: DumpFolder) -> GoldInfo:
    """gold.json of a dump.

    Raises:
        InputError: the dump has no gold sample.
        DamagedError: it was altered, or is another dump's.
    """
    data = read_small(dump.filesystem, dump.join(layout.GOLD_INFO))
    if data is None:
        raise InputError(
            f"{dump.url} has no gold sample, so its distributions cannot be audited. Dump with "
            "--gold 8."
        )
    info = parse_model(GoldInfo, data, f"{dump.url}/{layout.GOLD_INFO}")
    if info.plan != dump.manifest.plan or info.head_rows != dump.manifest.tokenizer.head_size:
        raise DamagedError(
            f"{layout.GOLD_INFO} in {dump.url} is the gold sample of another dump. Remove gold/, "
            "or take a fresh copy of it."
        )
    return info


def read_head(dump: DumpFolder, info: GoldInfo) -> tuple[Floats, Floats | None]:
    """The head's matrix [V, D] in float32, and its bias [V] where it has one.

    Raises:
        DamagedError: the file is missing, altered, or not what gold.json says.
    """
    weight = np.empty((info.head_rows, info.hidden_width), np.float32)
    bias = np.empty(info.head_rows, np.float32) if info.bias else None
    filled = 0
    for table in _tables(dump, layout.GOLD_HEAD, info.head, head_schema(info)):
        rows = slice(filled, filled + table.num_rows)
        if rows.stop > info.head_rows:
            raise _altered(dump, layout.GOLD_HEAD, "it has more rows than gold.json says")
        weight[rows] = decoded(_octets(table["row"]), info)
        if bias is not None:
            bias[rows] = table["bias"].to_numpy()
        filled = rows.stop
    if filled != info.head_rows or not np.isfinite(weight).all():
        raise _altered(dump, layout.GOLD_HEAD, "it is incomplete or holds what is no number")
    return weight, bias


def read_sequences(dump: DumpFolder, info: GoldInfo) -> Iterator[GoldSequence]:
    """The sequences of the sample.

    Raises:
        DamagedError: as above.
    """
    for table in _tables(dump, layout.GOLD_STATES, info.states, states_schema(info)):
        for index in range(table.num_rows):
            row = table.slice(index, 1)
            states = decoded(_octets(row["states"].combine_chunks().flatten()), info)
            if not np.isfinite(states).all():
                raise _altered(dump, layout.GOLD_STATES, "it holds what is no number")
            yield GoldSequence(
                id=row["id"][0].as_py(),
                unit=row["unit"][0].as_py(),
                row=row["row"][0].as_py(),
                states=states,
            )


def decoded(octets: npt.NDArray[np.uint8], info: GoldInfo) -> Floats:
    """[N, bytes] as float32 [N, D]: bfloat16 is the upper half of a float32."""
    if info.dtype == "float32":
        return octets.view("<f4")
    halves = octets.view("<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _field(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def _tables(dump: DumpFolder, name: str, held: GoldFile, schema: pa.Schema) -> Iterator[pa.Table]:
    """Row group by row group; the file's page checksums are verified while reading."""
    with dump.reading(name):
        file = open_parquet(dump.filesystem, dump.join(name), held.bytes)
        if not file.schema_arrow.equals(schema):
            raise _altered(dump, name, "its columns are not those of a gold sample")
        for group in range(file.num_row_groups):
            yield _read(file, group)


def _read(file: pq.ParquetFile, group: int) -> pa.Table:
    table: pa.Table = file.read_row_group(group)
    return table


def _octets(column: Any) -> npt.NDArray[np.uint8]:
    """A column of byte strings of one width as uint8 [N, width]."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    width = array.type.byte_width
    held = np.frombuffer(array.buffers()[1] or b"", np.uint8)
    return held[array.offset * width : (array.offset + len(array)) * width].reshape(-1, width)


def _altered(dump: DumpFolder, name: str, problem: str) -> DamagedError:
    return DamagedError(f"{name} in {dump.url}: {problem}. Take a fresh copy of gold/.")
