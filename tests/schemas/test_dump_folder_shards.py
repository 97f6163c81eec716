"""Reading shards: what is missing, cut short, altered or foreign is refused by name."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import shard_reading
from schemas.columns import shard_columns
from schemas.dump_folder import open_dump
from schemas.errors import DamagedError
from schemas.shards import write_shard
from tests.dumps import Dump, sha, write_dump
from tests.reliability.rewriting import footer_of, shard_path, write_manifest


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    return write_dump(tmp_path / "dump", count=8, unit_size=4)


def open_first(dump: Dump) -> pa.Table:
    opened = open_dump(dump.path)
    with opened.reading(opened.shards[0].name):
        return opened.shard_file(opened.shards[0]).read()


def test_a_missing_shard_is_named(dump: Dump) -> None:
    shard_path(dump).unlink()
    with pytest.raises(DamagedError, match="is missing") as caught:
        open_first(dump)
    assert shard_path(dump).name in str(caught.value) and "potstill verify" in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("cut", [1, 8, 300, None])
def test_a_truncated_shard_is_named(dump: Dump, cut: int | None) -> None:
    data = shard_path(dump).read_bytes()
    shard_path(dump).write_bytes(data[:-cut] if cut else b"")
    with pytest.raises(DamagedError, match=r"has .* bytes instead of .*cut short or altered"):
        open_first(dump)


def test_a_symbolic_link_is_refused(dump: Dump) -> None:
    target = shard_path(dump).rename(dump.path / "elsewhere")
    shard_path(dump).symlink_to(target)
    with pytest.raises(DamagedError, match="symbolic links are not followed"):
        open_first(dump)


def test_single_bits_of_a_shard_are_noticed(dump: Dump) -> None:
    """Page checksums, the footer's checks and the value ranges; without a hash of the file."""
    data = shard_path(dump).read_bytes()
    whole, silent = open_first(dump), 0
    flips = range(4, len(data), 37)
    for place in flips:
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        shard_path(dump).write_bytes(flipped)
        try:
            silent += not open_first(dump).equals(whole)
        except DamagedError:
            continue
    assert len(flips) > 100 and silent == 0


def damage(dump: Dump, columns: list[Any], footer: dict[str, Any], **writer: Any) -> None:
    """Writes another first shard, its size in the manifest right."""
    table = open_first(dump)
    target = shard_path(dump)
    if writer:
        pq.write_table(table, target, **writer)
    else:
        with target.open("wb") as sink:
            write_shard(sink, [table.select([c.name for c in columns])], columns, footer)
    (shard, *others) = dump.manifest.shards
    shard = shard.model_copy(update={"bytes": target.stat().st_size})
    write_manifest(dump, shards=[shard, *others])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plan": sha(b"other")}, "its footer says plan"),
        ({"codec": "gap4"}, "its footer says codec 'gap4' instead of 'gap5'"),
        ({"format_version": 2}, "its footer says format_version 2 instead of 1"),
        ({"unit": 1}, "its footer says unit 1 instead of 0"),
        ({"rows": 3}, "its footer says rows 3"),
        ({"tokens": 1}, "its footer says tokens 1"),
    ],
)
def test_a_shard_of_another_dump(dump: Dump, changes: dict[str, Any], message: str) -> None:
    columns = shard_columns(dump.manifest.capture.temperatures)
    damage(dump, columns, {**footer_of(dump), **changes})
    with pytest.raises(DamagedError, match=message):
        open_first(dump)


def test_another_schema(dump: Dump) -> None:
    columns = shard_columns(dump.manifest.capture.temperatures)
    footer = footer_of(dump)
    damage(dump, columns[:-1], footer)
    with pytest.raises(DamagedError, match="token_logprobs is missing"):
        open_first(dump)


def test_an_arrow_schema_is_refused_before_arrow_sees_it(dump: Dump) -> None:
    damage(dump, [], {}, store_schema=True)
    with pytest.raises(DamagedError, match="carries an Arrow schema"):
        open_first(dump)


def test_foreign_encodings_are_refused(dump: Dump) -> None:
    columns = shard_columns(dump.manifest.capture.temperatures)
    from schemas.columns import arrow_schema

    table, footer, target = open_first(dump), footer_of(dump), shard_path(dump)
    with pq.ParquetWriter(target, arrow_schema(columns), store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"potstill": json.dumps(footer)})
    (shard, *others) = dump.manifest.shards
    shard = shard.model_copy(update={"bytes": target.stat().st_size})
    write_manifest(dump, shards=[shard, *others])
    with pytest.raises(DamagedError, match=r"is encoded as .*DICTIONARY"):
        open_first(dump)


def test_garbage_of_the_right_size(dump: Dump) -> None:
    shard_path(dump).write_bytes(b"\0" * shard_path(dump).stat().st_size)
    with pytest.raises(DamagedError, match="does not end as a Parquet file does"):
        open_first(dump)


def test_a_footer_is_walked_once_and_again_when_it_changes(
    dump: Dump, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked: list[bytes] = []
    walk = shard_reading.footer_claims
    monkeypatch.setattr(shard_reading, "_WELL", set())
    monkeypatch.setattr(
        shard_reading, "footer_claims", lambda footer: (walked.append(footer), walk(footer))[1]
    )
    open_first(dump)
    open_first(dump)
    assert len(walked) == 1
    path = shard_path(dump)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1  # in the name of who wrote it
    path.write_bytes(data)
    open_first(dump)
    assert len(walked) == 2 and walked[0] != walked[1]
