"""Long ledgers: the same lines whether they stand in manifest.json or in files."""

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import ledger
from schemas.errors import DamagedError
from schemas.generation import GenerationCounts
from schemas.ledger import SCHEMA, LedgerLines, ledger_parts, read_ledger
from schemas.ledger_part import LedgerPart
from schemas.manifest import Alignment, Shard, Statistics


def line(unit: int, **changes: Any) -> Shard:
    alignment = Alignment(
        positions=unit, shift_minus_1=None, shift_0=0.25 if unit else None, shift_plus_1=1.5
    )
    return Shard(
        name=f"part-{unit:06d}-{unit:04x}.parquet",
        unit=unit,
        rows=unit % 7,
        tokens=100 + unit,
        positions=90 + unit,
        bytes=1000 + unit,
        sha256="sha256:" + hashlib.sha256(str(unit).encode()).hexdigest(),
        statistics=Statistics(
            kept=5, drawn=1, tail_mass=0.1 * unit, negative_logprob=1 / 3, alignment=alignment
        ),
        **changes,
    )


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Shard]]:
    monkeypatch.setattr(ledger, "GROUP_LINES", 7)
    monkeypatch.setattr(ledger, "PART_LINES", 21)
    yield [
        line(0),
        line(1, hidden_bytes=5, hidden_sha256="sha256:" + "0" * 64),
        line(2, failed=3, generation=GenerationCounts(generated=4, kept=2)),
        *map(line, range(3, 50)),
    ]


class Written:
    """A manifest with a long ledger, as `read_ledger` sees it."""

    def __init__(self, lines: list[Shard]) -> None:
        parts = list(ledger_parts(lines))
        self.shards: list[Shard] = []
        self.ledger: list[LedgerPart] | None = [part for part, _ in parts]
        self.files = {f"ledger/{part.name}": data for part, data in parts}

    def read(self) -> Any:
        return read_ledger(self, self.files.get, "here")  # type: ignore[arg-type]


def test_lines_come_back(lines: list[Shard]) -> None:
    written = Written(lines)
    assert [part.shards for part in written.ledger or []] == [21, 21, 8]
    found = written.read()
    assert (len(found), list(found), found[-1], found[20:23]) == (
        *(len(lines), lines, lines[-1], lines[20:23]),
    )
    assert [found[n] for n in (49, 0, 30)] == [lines[n] for n in (49, 0, 30)]
    with pytest.raises(IndexError):
        found[50]
    assert list(Written([]).read()) == []


def test_the_same_lines_are_the_same_files(lines: list[Shard]) -> None:
    assert Written(lines).files == Written(lines).files


def test_every_flipped_bit_is_found(lines: list[Shard]) -> None:
    written = Written(lines[:3])
    (name, data), *_ = written.files.items()
    for place in range(0, len(data), 5):
        for bit in (0, 7):
            altered = bytearray(data)
            altered[place] ^= 1 << bit
            written.files[name] = bytes(altered)
            with pytest.raises(DamagedError, match=rf"{name}.*altered.*fresh copy"):
                written.read()


def test_missing_and_cut_files_are_named(lines: list[Shard]) -> None:
    written = Written(lines)
    name = next(iter(written.files))
    written.files[name] = written.files[name][:-1]
    with pytest.raises(DamagedError, match=r"bytes instead of"):
        written.read()
    del written.files[name]
    with pytest.raises(DamagedError, match=rf"{name} in here: it is missing"):
        written.read()


@pytest.mark.parametrize(
    ("units", "text"), [([0, 2, 1], "out of order"), ([0, 1, 1], "names a unit twice")]
)
def test_units_out_of_order_are_refused(lines, units: list[int], text: str) -> None:
    with pytest.raises(DamagedError, match=text):
        Written([line(unit) for unit in units]).read()


def forged(table: pa.Table, shards: int, **options: Any) -> Written:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    sha256 = "sha256:" + hashlib.sha256(sink.getvalue()).hexdigest()
    size = len(sink.getvalue())
    written = Written([])
    part = LedgerPart(name="0" * 16 + ".parquet", shards=shards, bytes=size, sha256=sha256)
    written.ledger, written.files = [part], {f"ledger/{part.name}": sink.getvalue()}
    return written


PLAIN = {"store_schema": False, "use_dictionary": False}
ROW = line(1).model_dump(mode="json")


@pytest.mark.parametrize(
    ("rows", "schema", "shards", "options", "text"),
    [
        ([ROW], SCHEMA, 2, PLAIN, "1 lines instead of 2"),
        ([ROW] * 8, SCHEMA, 8, PLAIN, "more than 7 lines in a row group"),
        ([ROW], SCHEMA, 1, {**PLAIN, "store_schema": True}, "carries an Arrow schema"),
        ([ROW], SCHEMA, 1, {**PLAIN, "use_dictionary": True}, "encoded as"),
        ([{"unit": "1"}], pa.schema([("unit", pa.string())]), 1, PLAIN, "column unit is none"),
        ([{"x": 1}], pa.schema([("x", pa.int64())]), 1, PLAIN, "column x is none"),
    ],
)
def test_what_nobody_of_us_writes_is_refused(lines, rows, schema, shards, options, text) -> None:
    with pytest.raises(DamagedError, match=text):
        forged(pa.Table.from_pylist(rows, schema=schema), shards, **options).read()


def test_a_line_that_breaks_the_format_is_refused(lines: list[Shard]) -> None:
    row = {**ROW, "name": "../part-1-a.parquet"}
    found = forged(pa.Table.from_pylist([row], schema=SCHEMA), 1, **PLAIN).read()
    with pytest.raises(DamagedError, match=r"does not follow FORMAT\.md"):
        found[0]
    assert isinstance(found, LedgerLines)
