import json
import shutil
from pathlib import Path

import fsspec
import pytest

from schemas.manifest import Capture
from tests.dumps import TOKENIZER, write_dump
from tests.pipeline.command_line import potstill


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    return write_dump(folder / "dump", count=24, capture=Capture(top_k=8)).path


def student(folder: Path, tokenizer: str | None = TOKENIZER, **config: int) -> Path:
    folder.mkdir()
    sizes = {"vocab_size": 64, "max_position_embeddings": 64, "hidden_size": 8, **config}
    (folder / "config.json").write_text(json.dumps(sizes))
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(tokenizer)
    return folder


def test_a_student_that_fits(dump: Path, tmp_path: Path) -> None:
    ran = potstill("inspect", dump, "--for", student(tmp_path / "s"), "--json")
    assert ran.code == 0, ran.err
    found = ran.lines[0]["for"]
    assert found["ok"] and {check["what"] for check in found["checks"]} == {
        *("tokenizer", "vocabulary", "context"),
    }
    shards = json.loads((dump / "manifest.json").read_text())["shards"]
    assert found["bytes_per_epoch"] == sum(shard["bytes"] for shard in shards)
    assert found["licence"][0] == "other" and "noncommercial" in " ".join(found["licence"])


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("vocabulary", {"vocab_size": 60}),
        ("context", {"max_position_embeddings": 32}),
        ("tokenizer", {"tokenizer": TOKENIZER.replace("w1", "v1")}),
    ],
)
def test_what_does_not_fit_is_said(what: str, changes: dict, dump: Path, tmp_path: Path) -> None:
    ran = potstill("inspect", dump, "--for", student(tmp_path / "s", **changes), "--json")
    assert ran.code == 1
    wrong = [c["what"] for c in ran.lines[0]["for"]["checks"] if c["ok"] is False]
    assert wrong == [what]


def test_a_student_without_a_tokenizer_takes_the_dumps(dump: Path, tmp_path: Path) -> None:
    ran = potstill("inspect", dump, "--for", student(tmp_path / "s", tokenizer=None))
    assert ran.code == 0 and "would be taken" in ran.out and "it fits" in ran.out


def test_no_such_student(dump: Path, tmp_path: Path) -> None:
    student(tmp_path / "student")
    ran = potstill("inspect", dump, "--for", tmp_path / "studnt")
    assert ran.code == 2 and "Did you mean" in ran.err
    (tmp_path / "empty").mkdir()
    assert "config.json" in potstill("inspect", dump, "--for", tmp_path / "empty").err


def test_a_dump_elsewhere_is_inspected_from_its_manifest_and_a_footer(
    dump: Path, tmp_path: Path
) -> None:
    """A shard that is damaged behind its first row group is not noticed: it is not read."""
    copy = tmp_path / "dump"
    shutil.copytree(dump, copy)
    last = max((copy / "data").iterdir())
    with last.open("r+b") as file:
        file.write(b"\xff" * 64)
    memory = fsspec.filesystem("memory")
    memory.put(str(copy), "/bucket/dump", recursive=True)
    ran = potstill("inspect", "memory://bucket/dump", "--for", student(tmp_path / "s"), "--json")
    assert ran.code == 0, ran.err
    assert ran.lines[0]["rows"] == 24 and ran.lines[0]["conditions"]["license"] == "apache-2.0"
    assert potstill("verify", "memory://bucket/dump").code == 1
