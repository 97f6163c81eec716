from pathlib import Path

import pytest

import potstill as api
from stage1_teacher.corpus import open_corpus
from stage1_teacher.corpus_rows import Columns
from tests.pipeline.command_line import potstill
from tests.tiny import tiny_teacher, write_rows

SEEDS = [{"prompt": f"What is {n} plus {n + 3}?"} for n in range(3)]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_teacher(tmp_path_factory.mktemp("teacher"), max_position_embeddings=512)


@pytest.fixture
def words(teacher: Path, tmp_path: Path) -> list[object]:
    """A command line that the tiny teacher can answer: its prompts are noise, but prompts."""
    template = tmp_path / "short.jinja"
    template.write_text("Again: {{ prompt }}")
    corpus = write_rows(tmp_path / "seeds.jsonl", SEEDS)
    given = ["augment", "--teacher", teacher, "--corpus", corpus, "--out", tmp_path / "new.jsonl"]
    how = ["--templates", template, "--variants", 6, "--dtype", "float32", "--top-p", 1]
    return [*given, *how, "--sampling-temperature", 3, "--max-new-tokens", 200]


def test_json_lines_end_with_the_counts(words: list[object], tmp_path: Path) -> None:
    ran = potstill(*words, "--json")
    assert ran.code == 0, ran.err
    assert [ran.lines[0]["event"], ran.lines[-1]["event"]] == ["launch", "done"]
    done = ran.lines[-1]
    assert done["asked"] == 18 == done["written"] + sum(done["rejected"].values())
    rows = list(open_corpus(str(tmp_path / "new.jsonl"), Columns(prompts_only=True)).rows())
    assert len(rows) == done["written"] > 0
    again = potstill(*words)
    assert again.code == 0
    assert "finished before" in again.out
    assert "potstill dump" in again.err
    assert "--generate" in again.err


def test_from_python(words: list[object], tmp_path: Path) -> None:
    names = [str(word)[2:].replace("-", "_") for word in words[1::2]]
    given = dict(zip(names, words[2::2], strict=True))
    done = api.augment(**{**given, "templates": [given["templates"]]})
    assert done.written > 0
    assert Path(done.path) == tmp_path / "new.jsonl"


@pytest.mark.parametrize(
    ("more", "code", "parts"),
    [
        (["--templates", "hardr"], 2, ["hardr", "Did you mean harder"]),
        (["--out", "new.json"], 2, ["ends in .jsonl", "new.json"]),
        (["--corpus", "seedz.jsonl"], 2, ["no corpus at seedz.jsonl"]),
        (["--prompt-column", "promt"], 2, ["no column `promt`", "prompt"]),
        (["--engine-mode", "compat"], 2, ["option of vLLM"]),
        (["--similarity", "2"], 2, ["similarity (--similarity)", "'2'"]),
        (["--max-length", "9999"], 2, ["context of 512"]),
        (["--corpus", "/dev/null"], 2, ["/dev/null"]),
    ],
)
def test_what_users_get_wrong(
    more: list[str], code: int, parts: list[str], words: list[object], tmp_path: Path
) -> None:
    ran = potstill(*words, *more)
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    assert all(part in ran.err for part in parts), ran.err
    assert not (tmp_path / "new.jsonl").exists()


def test_a_file_that_is_in_the_way_is_kept(words: list[object], tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text("mine")
    ran = potstill(*words)
    assert ran.code == 3
    assert "exists already" in ran.err
    assert (tmp_path / "new.jsonl").read_text() == "mine"


def test_a_folder_that_cannot_be_written(words: list[object]) -> None:
    ran = potstill(*words, "--out", "/proc/nowhere/new.jsonl")
    assert ran.code in (2, 5)
    assert "Traceback" not in ran.err
