"""FORMAT.md and manifest.schema.json say what the code does."""

import re
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import schemas
from schemas import layout
from schemas.codecs import CODECS
from schemas.columns import COLUMNS, hidden_columns
from schemas.manifest import (
    FORMAT_VERSION,
    Generation,
    GenerationCounts,
    Manifest,
    Settings,
    Shard,
    Statistics,
)
from schemas.manifest_schema import manifest_schema

FOLDER = Path(schemas.__file__).parent
PAGE = (FOLDER / "FORMAT.md").read_text()


def type_text(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list<{type_text(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return "struct<" + ", ".join(f"{f.name}: {type_text(f.type)}" for f in kind) + ">"
    return {"float": "float32"}.get(str(kind), str(kind))


def table() -> str:
    """The table of columns, as FORMAT.md must have it."""
    rows = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for column in COLUMNS:
        optional = "*optional:* " if column.optional else ""
        rows.append(
            f"| `{column.name}` | {type_text(column.type)} | {column.unit} "
            f"| {optional}{column.meaning} |"
        )
    return "\n".join(rows)


def marked(name: str) -> str:
    found = re.search(rf"<!-- {name}: [^\n]*-->\n(.*?)\n<!-- end of {name} -->", PAGE, re.S)
    assert found, f"FORMAT.md has no block {name}"
    return found[1]


def snippet() -> str:
    """The Python of the decoding block."""
    found = re.search(r"```python\n(.*?)```", marked("decode"), re.S)
    assert found
    return found[1]


def test_the_table_of_columns_is_columns_py() -> None:
    assert marked("columns") == table()


def test_the_snippet_needs_numpy_only_and_ten_lines() -> None:
    lines = [line for line in snippet().splitlines() if line.strip()]
    assert len(lines) <= 10
    assert [line for line in lines if "import" in line] == ["import numpy as np"]


def test_the_card_prints_this_snippet() -> None:
    from stage1_teacher.card import decode_snippet

    assert decode_snippet() == snippet().rstrip()


@pytest.mark.parametrize("codec", ["int8", "bf16"])
def test_the_columns_of_hidden_states_are_columns_py(codec: str) -> None:
    section = PAGE[PAGE.index("| codec | column |") : PAGE.index("<!-- decode hidden")]
    told, current = [], ""
    for line in section.splitlines()[2:]:
        if line.startswith("| "):
            of_codec, name, kind = (cell.strip(" `") for cell in line.split("|")[1:4])
            current = of_codec or current
            told += [(name.replace("<id>", "7"), kind)] if current == codec else []
    columns = hidden_columns(["7"], codec, 9)[1:]
    assert told == [(c.name, type_text(c.type).replace("[9]", "[W]")) for c in columns]


def test_the_version_and_the_codecs_are_named() -> None:
    assert f"# The format of a dump, version {FORMAT_VERSION}" in PAGE
    for name in CODECS:
        assert f"Codec {name}" in PAGE


@pytest.mark.parametrize(
    "model", [Manifest, Settings, Shard, Statistics, Generation, GenerationCounts]
)
def test_every_field_of_the_manifest_is_described(model: type) -> None:
    section = PAGE[PAGE.index("## 8.") : PAGE.index("## 9.")]
    missing = [name for name in model.model_fields if f"`{name}`" not in section]
    assert not missing


@pytest.mark.parametrize("name", ["teacher", "tokenizer", "corpus", "capture", "limits"])
def test_every_nested_field_is_described(name: str) -> None:
    line = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    model = Settings.model_fields[name].annotation
    assert [field for field in model.model_fields if f"`{field}`" not in line] == []


def test_names_are_those_of_the_layout() -> None:
    pattern = re.search(r"name MUST match `([^`]+)`", PAGE)
    assert pattern and re.match(pattern[1], layout.shard_name(1234567, "0f"))
    for name in ("part-1-0f.parquet.tmp", "part-1-0G.parquet", "a/part-1-0f.parquet"):
        assert not re.match(pattern[1], name)
        assert not layout.SHARD_NAME.match(name)
    for name in (layout.MANIFEST, layout.PLAN, layout.COMMITS, layout.LEDGER, layout.LEASES):
        assert name in PAGE


def test_the_codec_of_the_page_is_the_codec_of_the_code() -> None:
    """Written from the page's words with the struct module, without looking at the code."""

    def bits(x: float) -> int:
        return struct.unpack("<I", struct.pack("<f", x))[0]

    def number(b: int) -> float:
        return struct.unpack("<f", struct.pack("<I", b))[0]

    def logit(x: float) -> float:
        g = -x
        if g < 1:
            return 0 - float(np.rint(g * 32)) / 32
        return 0 - number((bits(g) + 0x00020000) & 0xFFFC0000)

    def mass(x: float) -> float:
        x = min(max(x, number(0xC1A5C940)), 0.0)
        if x > -0.5:
            return number((bits(x) + 0x00004000) & 0xFFFF8000)
        return float(np.rint(x * 256)) / 256

    rng = np.random.default_rng(0)
    values = -np.exp(rng.uniform(-14, 5, 4000)).astype(np.float32)
    assert CODECS["gap5"].round_logits(values).tolist() == [logit(float(x)) for x in values]
    assert CODECS["gap5"].round_logmass(values).tolist() == [mass(float(x)) for x in values]


def test_the_json_schema_is_current() -> None:
    written = (FOLDER / "manifest.schema.json").read_bytes()
    assert written == manifest_schema(), "write it anew: python -m schemas.manifest_schema"
