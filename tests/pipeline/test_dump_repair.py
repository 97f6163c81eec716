"""verify --repair: what is bad is moved aside and made again by the command that made the dump."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.dump_repair import repair
from schemas.dump_folder import open_dump
from schemas.errors import FormatError, InputError
from schemas.manifest import Capture
from schemas.verify import verify
from stage1_teacher import run
from stage1_teacher.settings import DumpSettings
from tests.dumps import write_dump
from tests.pipeline.command_line import potstill
from tests.stage1_teacher.prepared_dumps import prepared_dump


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs the same prepared dump into tmp_path/dump, again and again."""

    def start() -> run.DumpSummary:
        prepared = prepared_dump(rows=41)
        monkeypatch.setattr(run, "prepare", lambda settings, report: prepared)
        out = str(tmp_path / "dump")
        return run.dump(DumpSettings(teacher="t", corpus="c", out=out), lambda _: None)

    return start


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def contents(folder: Path) -> dict[str, Any]:
    manifest = open_dump(folder).manifest
    return {str(s.unit): (s.sha256, s.rows) for s in manifest.shards}


def test_a_bad_shard_is_computed_again_and_nothing_else(make: Any, tmp_path: Path) -> None:
    make()
    dump = tmp_path / "dump"
    before, shards = contents(dump), open_dump(dump).shards
    flip(dump / "data" / shards[1].name)
    (dump / "data" / shards[4].name).unlink()
    checked = potstill("verify", dump)
    assert checked.code == 1 and f"potstill verify {dump} --repair" in checked.out
    mended = potstill("verify", dump, "--repair", "--json")
    assert mended.code == 1
    assert mended.lines[0]["repaired"] == {
        "units": [1, 4],
        "aside": [f"data/{shards[1].name}"],
        "left": 0,
    }
    assert (dump / f".potstill/aside/data-{shards[1].name}").exists()
    with pytest.raises(FormatError, match="4 of 6 units are done"):
        open_dump(dump)
    summary = make()
    assert summary.units_done == 2
    assert verify(str(dump)).ok
    assert {unit: rows for unit, (_, rows) in contents(dump).items()} == {
        unit: rows for unit, (_, rows) in before.items()
    }
    kept = [unit for unit in before if contents(dump)[unit] == before[unit]]
    assert set(kept) >= {"0", "2", "3", "5"}


def test_an_altered_tokenizer_is_written_again(make: Any, tmp_path: Path) -> None:
    make()
    path = tmp_path / "dump/tokenizer/tokenizer.json"
    if not path.exists():
        pytest.fail("the prepared dump has a tokenizer")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"}", b"", 1))
    found = verify(str(tmp_path / "dump"))
    assert [finding.where for finding in found.findings] == ["tokenizer/tokenizer.json"]
    assert repair(str(tmp_path / "dump"), found.findings).aside == ("tokenizer/tokenizer.json",)
    make()
    assert path.read_bytes() == whole and verify(str(tmp_path / "dump")).ok


def test_a_copy_cannot_be_computed_again(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", count=8, capture=Capture())
    flip(dump.path / "data" / dump.manifest.shards[0].name)
    found = verify(str(dump.path))
    assert found.findings[0].cure.endswith(f"potstill dataset pull SOURCE --out {dump.path}")
    with pytest.raises(InputError, match="was not made in this place"):
        repair(str(dump.path), found.findings)
    assert (dump.path / "manifest.json").exists()
