"""Opening dumps: what is there is believed only as far as it was checked."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import layout
from schemas.columns import shard_columns
from schemas.dump_folder import DumpFolder, open_dump, open_dumps
from schemas.errors import DamagedError, FormatError, InputError, MismatchError
from schemas.manifest import Capture, Manifest, manifest_identity, plan_identity, settings_of
from schemas.shards import write_shard
from schemas.storage_posix import PosixStore
from schemas.strict_json import json_bytes
from schemas.value_ranges import check_values
from stage1_teacher.commit import Work, open_work
from tests.dumps import Dump, hidden_policy, make_settings, sha, write_dump


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    return write_dump(tmp_path / "dump", count=8, unit_size=4)


def rewrite(dump: Dump, **changes: Any) -> None:
    """A manifest with other fields, its hashes right again."""
    manifest = dump.manifest.model_copy(update=changes)
    manifest = manifest.model_copy(update={"plan": plan_identity(settings_of(manifest))})
    manifest = manifest.model_copy(update={"identity": manifest_identity(manifest)})
    (dump.path / layout.MANIFEST).write_bytes(json_bytes(manifest))


def test_every_row_of_every_shard(dump: Dump) -> None:
    opened = pickle.loads(pickle.dumps(open_dump(dump.path)))
    assert opened.manifest == dump.manifest and opened.url == str(dump.path)
    ids = []
    for shard in opened.shards:
        file = opened.shard_file(shard)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            check_values(table, opened.manifest, shard.name)
            ids += table["id"].to_pylist()
    assert ids == list(dump.samples)


def test_a_dump_in_memory_reads_the_same(dump: Dump) -> None:
    """Any fsspec file system will do."""
    memory = fsspec.filesystem("memory")
    memory.put(str(dump.path), "/somewhere", recursive=True)
    opened = open_dump("memory://somewhere")
    (shard, *_) = opened.shards
    local = open_dump(dump.path).shard_file(shard).read()
    assert opened.shard_file(shard).read().equals(local)
    assert [d.manifest for d in open_dumps(["memory://some*"])] == [dump.manifest]
    with pytest.raises(InputError, match="nothing at memory://nowhere"):
        open_dump("memory://nowhere")
    memory.rm("/somewhere", recursive=True)


def test_several_dumps_and_patterns(dump: Dump, tmp_path: Path) -> None:
    write_dump(tmp_path / "dump-2", count=4, seed=5)
    (tmp_path / "dump.txt").write_text("a file beside them")
    opened = open_dumps([tmp_path / "dump*", dump.path])
    assert [Path(d.url).name for d in opened] == ["dump", "dump-2"]
    with pytest.raises(InputError, match="no folder matches"):
        open_dumps([tmp_path / "dumb*"])


def test_nothing_there_suggests_the_nearest(dump: Dump, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Did you mean .*/dump\?"):
        open_dump(tmp_path / "dmup")


def test_what_is_no_dump(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(FormatError, match=r"is no dump.*found a\.txt"):
        open_dump(tmp_path)
    with pytest.raises(FormatError, match="is a file"):
        open_dump(tmp_path / "a.txt")
    with pytest.raises(InputError, match="Protocol not known"):
        open_dump("nope://x")


def unfinished(path: Path) -> Work:
    settings = make_settings(Capture(), rows=16)
    return open_work(path, settings, [(0, 8), (8, 16)], created_by="test")


def test_an_unfinished_dump_says_how_to_go_on(tmp_path: Path) -> None:
    work = unfinished(tmp_path / "d")
    with pytest.raises(FormatError, match=r"0 of 2 units are done.*potstill dump … --out"):
        open_dump(tmp_path / "d")
    with pytest.raises(FormatError, match="unfinished"):
        open_dump(tmp_path / "d", growing=True)
    work.snapshot()
    assert open_dump(tmp_path / "d", growing=True).shards == []


def test_a_pinned_identity(dump: Dump) -> None:
    assert open_dump(dump.path, expect=dump.manifest.identity)
    other = "sha256:" + "0" * 64
    with pytest.raises(MismatchError) as caught:
        open_dump(dump.path, expect=other)
    assert other in str(caught.value) and dump.manifest.identity in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["teacher"].update(license="mit"),
        lambda m: m["shards"][0].update(rows=3),
        lambda m: m.update(identity="sha256:" + "0" * 64),
        lambda m: m.update(created_by="somebody else"),
    ],
)
def test_an_altered_manifest(dump: Dump, change: Any) -> None:
    path = dump.path / layout.MANIFEST
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(DamagedError, match="was altered"):
        open_dump(dump.path)


def test_every_cut_of_the_manifest(dump: Dump) -> None:
    path = dump.path / layout.MANIFEST
    whole = path.read_bytes()
    for end in range(0, len(whole) - 2, 97):
        path.write_bytes(whole[:end])
        with pytest.raises((DamagedError, FormatError)):
            open_dump(dump.path)


def test_bits_of_the_manifest(dump: Dump) -> None:
    """No flipped bit gets through, but where the meaning is the same (blanks)."""
    path = dump.path / layout.MANIFEST
    whole = bytearray(path.read_bytes())
    for place in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            assert open_dump(dump.path).manifest == dump.manifest
        except (DamagedError, FormatError):
            continue


def test_an_unknown_version_and_codec(dump: Dump) -> None:
    path = dump.path / layout.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "format_version": 9}))
    with pytest.raises(FormatError, match="format version 9; this potstill reads version 1"):
        open_dump(dump.path)
    rewrite(dump, codec="gap9")
    with pytest.raises(FormatError, match="'gap9'; this potstill reads gap5"):
        open_dump(dump.path)


def test_a_unit_twice(dump: Dump) -> None:
    rewrite(dump, shards=[dump.manifest.shards[0]] * 2)
    with pytest.raises(DamagedError, match="a unit twice"):
        open_dump(dump.path)


def first(dump: Dump) -> Path:
    return dump.path / layout.DATA / dump.manifest.shards[0].name


def open_first(dump: Dump) -> pa.Table:
    opened = open_dump(dump.path)
    with opened.reading(opened.shards[0].name):
        return opened.shard_file(opened.shards[0]).read()


def test_a_missing_shard_is_named(dump: Dump) -> None:
    first(dump).unlink()
    with pytest.raises(DamagedError, match="is missing") as caught:
        open_first(dump)
    assert first(dump).name in str(caught.value) and "potstill verify" in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("cut", [1, 8, 300, None])
def test_a_truncated_shard_is_named(dump: Dump, cut: int | None) -> None:
    data = first(dump).read_bytes()
    first(dump).write_bytes(data[:-cut] if cut else b"")
    with pytest.raises(DamagedError, match=r"has .* bytes instead of .*cut short or altered"):
        open_first(dump)


def test_a_symbolic_link_is_refused(dump: Dump) -> None:
    target = first(dump).rename(dump.path / "elsewhere")
    first(dump).symlink_to(target)
    with pytest.raises(DamagedError, match="symbolic links are not followed"):
        open_first(dump)


def test_single_bits_of_a_shard_are_noticed(dump: Dump) -> None:
    """Page checksums, the footer's checks and the value ranges; without a hash of the file."""
    data = first(dump).read_bytes()
    whole, silent = open_first(dump), 0
    flips = range(4, len(data), 37)
    for place in flips:
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        first(dump).write_bytes(flipped)
        try:
            silent += not open_first(dump).equals(whole)
        except DamagedError:
            continue
    assert len(flips) > 100 and silent == 0


def damage(dump: Dump, columns: list[Any], footer: dict[str, Any], **writer: Any) -> None:
    """Writes another first shard, its size in the manifest right."""
    table = open_first(dump)
    target = first(dump)
    if writer:
        pq.write_table(table, target, **writer)
    else:
        with target.open("wb") as sink:
            write_shard(sink, [table.select([c.name for c in columns])], columns, footer)
    (shard, *others) = dump.manifest.shards
    shard = shard.model_copy(update={"bytes": target.stat().st_size})
    rewrite(dump, shards=[shard, *others])


def footer_of(dump: Dump) -> dict[str, Any]:
    text = pq.read_metadata(first(dump)).metadata[b"potstill"]
    value: dict[str, Any] = json.loads(text)
    return value


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

    table, footer, target = open_first(dump), footer_of(dump), first(dump)
    with pq.ParquetWriter(target, arrow_schema(columns), store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"potstill": json.dumps(footer)})
    (shard, *others) = dump.manifest.shards
    shard = shard.model_copy(update={"bytes": target.stat().st_size})
    rewrite(dump, shards=[shard, *others])
    with pytest.raises(DamagedError, match=r"is encoded as .*DICTIONARY"):
        open_first(dump)


def test_garbage_of_the_right_size(dump: Dump) -> None:
    first(dump).write_bytes(b"\0" * first(dump).stat().st_size)
    with pytest.raises(DamagedError, match="does not end as a Parquet file does"):
        open_first(dump)


def test_companions_by_name_only(dump: Dump) -> None:
    (dump.path / "tokenizer/tokenizer.json").write_text("{}")
    (dump.path / "tokenizer/.hidden").write_text("{}")
    (dump.path / "secret").write_text("s")
    opened = open_dump(dump.path)
    assert opened.names("tokenizer") == ["tokenizer.json"]
    assert opened.read_text("tokenizer/tokenizer.json") == "{}"
    for name in ("secret", "../dump/secret", "tokenizer/../secret", "/etc/passwd", "tokenizer/"):
        with pytest.raises(InputError, match="no file that a dump has"):
            opened.read_text(name)
    with pytest.raises(DamagedError, match="missing"):
        opened.read_text("tokenizer/vocab.json")
    (dump.path / "tokenizer/link.json").symlink_to("/etc/hostname")
    with pytest.raises(DamagedError, match="symbolic link"):
        opened.read_text("tokenizer/link.json")


def test_hidden_states(dump: Dump, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no hidden states"):
        open_dump(dump.path).hidden_file(dump.manifest.shards[0])
    other = write_dump(tmp_path / "hidden", count=4, capture=hidden_policy("bf16", ["0", "last"]))
    (shard,), opened = other.manifest.shards, open_dump(other.path)
    found = opened.hidden_file(shard).read().column_names
    assert found == ["id", "hidden_0", "hidden_0_low", "hidden_last", "hidden_last_low"]
    wider = other.manifest.capture.model_copy(update={"hidden_width": 7})
    rewrite(other, capture=wider)
    with pytest.raises(DamagedError, match=r"binary\[6\].* instead of .*binary\[7\]"):
        open_dump(other.path).hidden_file(shard)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_layers": ["last", "0"]}, "out of order"),
        ({"hidden_layers": ["0", "0"]}, "twice"),
        ({"hidden_codec": None}, "only in part"),
        ({"hidden_width": None}, "only in part"),
        ({"hidden_layers": []}, "only in part"),
    ],
)
def test_hidden_states_said_in_part(tmp_path: Path, changes: dict, words: str) -> None:
    dump = write_dump(tmp_path / "d", count=2, capture=hidden_policy())
    rewrite(dump, capture=dump.manifest.capture.model_copy(update=changes))
    with pytest.raises(DamagedError, match=words):
        open_dump(dump.path)


def test_a_copy_without_its_work_folder_is_still_a_dump(dump: Dump, tmp_path: Path) -> None:
    shutil.copytree(dump.path, tmp_path / "copy")
    assert isinstance(open_dump(tmp_path / "copy"), DumpFolder)
    settings = settings_of(dump.manifest)
    work = open_work(tmp_path / "copy", settings, [(0, 4), (4, 8)], created_by="x")
    assert work.complete and work.missing() == [] and work.finalise() == dump.manifest
    assert PosixStore(tmp_path / "copy").size(layout.PLAN) is None
    assert isinstance(work.manifest(), Manifest)
