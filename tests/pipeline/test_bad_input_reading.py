"""Dumps and students that cannot be read: a clear text and the right code, in every command."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dumps import write_dump
from tests.pipeline.bad_input import Place, refused, small_disk
from tests.pipeline.command_line import potstill
from tests.pipeline.students import write_student

READING: dict[str, tuple[Callable[[Place], Path], int, tuple[str, ...]]] = {
    "nothing there": (lambda p: p.room / "nowhere", 2, ("nowhere",)),
    "no dump": (lambda p: p.file("x", b"x").parent, 2, ("manifest.json",)),
    "cut shard": (
        lambda p: p.damaged_dump(lambda data: data[: len(data) // 2]),
        1,
        ("part-000000", "fresh copy"),
    ),
    "altered shard": (
        lambda p: p.damaged_dump(lambda data: data[:2000] + bytes([data[2000] ^ 1]) + data[2001:]),
        1,
        ("part-000000", "fresh copy"),
    ),
    "altered manifest": (
        lambda p: p.changed_manifest(created_by="me"),
        1,
        ("manifest.json", "altered"),
    ),
    "unknown version": (
        lambda p: p.changed_manifest(format_version=99),
        2,
        ("version 99", "newer"),
    ),
    "unfinished": (lambda p: unfinished(p), 2, ("unfinished",)),
}


def unfinished(place: Place) -> Path:
    """A dump that ran out of disk."""
    with small_disk(30_000):
        assert potstill(*place.dumping(out=place.room / "half", unit_size=6)).code == 2
    return place.room / "half"


@pytest.mark.parametrize("command", ["verify", "inspect", "train", "evaluate"])
@pytest.mark.parametrize("case", READING)
def test_reading_a_dump(case: str, command: str, place: Place) -> None:
    make, code, parts = READING[case]
    path = make(place)
    if (case, command) == ("altered shard", "inspect"):
        return  # it reads the manifest and some ids, not the shards
    words = {
        "train": place.training(dump=path),
        "evaluate": ["evaluate", place.teacher, "--dump", path, "--rows", "all"],
    }.get(command, [command, path])
    refused(potstill(*words), code, *parts)
    assert not (place.teacher / "evaluation.json").exists()
    assert not (place.out / "model.safetensors").exists()


def test_reporting(place: Place) -> None:
    refused(potstill("report", place.room / "no"), 2, "/no", "potstill train")
    refused(potstill("report", place.room), 2, "no student's folder")
    student = write_student(place.room / "student")
    refused(potstill("report", student, "--assert", "kl<<1"), 2, "'kl<<1'", "kl<0.15")
    with small_disk(10_000):
        refused(potstill("report", student), 2, "no space left", "report.html")
    assert sorted(p.name for p in student.iterdir() if p.name.startswith(".")) == []


def test_a_sample_that_is_not_there(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump")
    refused(potstill("inspect", dump.path, "--id", "nobody"), 2, "'nobody'", "s0-00000")
