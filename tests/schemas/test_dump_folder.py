"""Opening dumps: what is there is believed only as far as it was checked."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest

from schemas import layout
from schemas.dump_folder import DumpFolder, open_dump, open_dumps
from schemas.errors import DamagedError, FormatError, InputError, MismatchError
from schemas.manifest import Capture, Manifest, settings_of
from schemas.storage_posix import PosixStore
from schemas.value_ranges import check_values
from stage1_teacher.commit import Work, open_work
from tests.dumps import Dump, hidden_policy, make_settings, write_dump
from tests.reliability.rewriting import write_manifest


@pytest.fixture
def dump(tmp_path: Path) -> Dump:
    return write_dump(tmp_path / "dump", count=8, unit_size=4)


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
    write_manifest(dump, codec="gap9")
    with pytest.raises(FormatError, match="'gap9'; this potstill reads gap5"):
        open_dump(dump.path)


def test_a_unit_twice(dump: Dump) -> None:
    write_manifest(dump, shards=[dump.manifest.shards[0]] * 2)
    with pytest.raises(DamagedError, match="a unit twice"):
        open_dump(dump.path)


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
    write_manifest(other, capture=wider)
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
    write_manifest(dump, capture=dump.manifest.capture.model_copy(update=changes))
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
