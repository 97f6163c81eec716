"""Verify looks at hidden states, too."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import layout
from schemas.columns import hidden_columns
from schemas.shards import write_shard
from schemas.verify import verify
from stage1_teacher.hidden_policy import with_widths
from tests.dumps import Dump, hidden_policy, sha, write_dump
from tests.reliability.rewriting import write_manifest
from tests.schemas.verifying import problems


@pytest.fixture
def hidden(tmp_path: Path) -> Dump:
    return write_dump(tmp_path / "hidden", capture=with_widths(hidden_policy(), 6, 4))


def rewrite_hidden(dump: Dump, change: Any, group: int = 4) -> None:
    """The first shard's hidden states with other rows; its ledger line has the right hash."""
    path = dump.path / layout.HIDDEN / dump.manifest.shards[0].name
    schema = pq.read_table(path).schema
    rows = pq.read_table(path).to_pylist()
    change(rows)
    parts = [rows[start : start + group] for start in range(0, len(rows), group)]
    tables = [pa.Table.from_pylist(part, schema=schema) for part in parts]
    capture = dump.manifest.capture
    columns = hidden_columns(capture.hidden_layers, "int8", capture.stored_width)
    footer = json.loads(pq.read_metadata(path).metadata[b"potstill"])
    with path.open("wb") as sink:
        write_shard(sink, tables, columns, footer)
    data = path.read_bytes()
    update = {"hidden_bytes": len(data), "hidden_sha256": sha(data)}
    shards = [dump.manifest.shards[0].model_copy(update=update), *dump.manifest.shards[1:]]
    write_manifest(dump, shards=shards)


def test_hidden_states_are_verified_too(hidden: Dump) -> None:
    found = verify(str(hidden.path))
    assert found.ok and found.notes == ()
    files = [*(hidden.path / "data").iterdir(), *(hidden.path / "hidden").iterdir()]
    assert found.bytes == sum(file.stat().st_size for file in files)
    path = hidden.path / layout.HIDDEN / hidden.manifest.shards[1].name
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    assert "hidden/" in problems(hidden)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.reverse(), "ids or lengths of hidden_0 are not those of the tokens"),
        (
            lambda rows: [rows[0][name].pop() for name in ("hidden_2", "hidden_2_scales")],
            "ids or lengths of hidden_2 are not those of the tokens",
        ),
        (lambda rows: rows[0]["hidden_2_scales"].pop(), "disagree about how many tokens"),
        (lambda rows: rows[3].update(hidden_last_channels=[0.0] * 4), "a scale is"),
    ],
)
def test_hidden_states_that_are_wrong(hidden: Dump, change: Any, words: str) -> None:
    rewrite_hidden(hidden, change)
    found = problems(hidden)
    assert words in found
    assert found.startswith(f"hidden/{hidden.manifest.shards[0].name}: row group 0")


def test_hidden_states_in_other_row_groups(hidden: Dump) -> None:
    rewrite_hidden(hidden, lambda rows: None, group=8)
    assert "its row groups are not those" in problems(hidden)


def test_hidden_states_without_a_hash(hidden: Dump) -> None:
    first, *others = hidden.manifest.shards
    first = first.model_copy(update={"hidden_bytes": 0, "hidden_sha256": None})
    write_manifest(hidden, shards=[first, *others])
    assert "no hash of the shard's hidden states" in problems(hidden)


def test_the_projection_is_the_manifests(hidden: Dump) -> None:
    path = hidden.path / layout.PROJECTION
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"\1")
    assert "projection.npy was altered" in problems(hidden)
    path.unlink()
    assert "projection.npy is missing" in problems(hidden)
