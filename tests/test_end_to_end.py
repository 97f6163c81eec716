"""From a corpus to a report, the teacher gone in between, nothing reached over the network."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.made_once import made_once
from tests.test_packaging import BLOCKED
from tests.tiny import tiny_teacher, write_rows

ROOT = Path(__file__).parent.parent
NO_SOCKETS = """
import socket
def refuse(*args, **kwargs):
    raise OSError("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse
"""
GOLDEN_LOSSES = [2.73762, 2.49859, 2.43085, 2.26515, 2.16516, 2.06064]


def potstill(*words: str, cwd: Path, blocked: frozenset[str] = frozenset()) -> list[dict]:
    """Runs a command with sockets refused; gives its JSON lines."""
    program = BLOCKED.format(blocked=set(blocked)) + NO_SOCKETS
    program += f"sys.path.insert(0, {str(ROOT)!r})\n"
    program += f"from pipeline.cli import main; sys.exit(main({[*words, '--json']!r}))"
    result = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "a socket was opened" not in result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def losses_of(student: Path) -> list[float]:
    lines = (student / "train_log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """Dump, teacher removed, trained with vLLM and stage one unimportable, measured, reported."""
    folder = made_once(tmp_path_factory, "end-to-end", _from_corpus_to_report)
    return folder, json.loads((folder / "lines.json").read_text())


def _from_corpus_to_report(folder: Path) -> None:
    tiny_teacher(folder / "teacher")
    small = tiny_teacher(folder / "small", seed=1)
    write_rows(
        folder / "corpus.jsonl",
        [
            {"source": f"slice-{i % 2}", "prompt": f"What is {i}?", "response": f"It is {i}."}
            for i in range(60)
        ],
    )
    potstill(
        *("dump", "--teacher", "teacher", "--corpus", "corpus.jsonl", "--out", "dump"),
        *("--max-length", "128", "--unit-size", "20", "--dtype", "float32"),
        cwd=folder,
        blocked=frozenset({"vllm"}),
    )
    shutil.rmtree(folder / "teacher")
    (folder / "corpus.jsonl").unlink()
    lines = potstill(
        *("train", "--dump", "dump", "--student", str(small), "--out", "student"),
        *("--steps", "6", "--batch-size", "2", "--log-steps", "1", "--holdout", "0.2"),
        *("--learning-rate", "3e-3"),
        cwd=folder,
        blocked=frozenset({"vllm", "ray"}),
    )
    for command in (("evaluate", "student", "--dump", "dump"), ("report", "student")):
        potstill(*command, cwd=folder, blocked=frozenset({"vllm"}))
    (folder / "lines.json").write_text(json.dumps(lines))


def test_training_needs_neither_teacher_nor_stage_one(trained: tuple[Path, list[dict]]) -> None:
    folder, lines = trained
    losses = losses_of(folder / "student")
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert lines[0]["event"] == "launch"
    assert any({"step", "loss"} <= set(line) for line in lines if line["event"] == "status")
    assert lines[-1]["event"] == "done"
    assert (folder / "student" / "model.safetensors").is_file()


def test_losses_are_those_of_last_time(trained: tuple[Path, list[dict]]) -> None:
    """Golden losses: a change of numerics anywhere between tokenizer and optimizer shows here."""
    losses = losses_of(trained[0] / "student")
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=2e-3)


def test_run_yaml_runs_again_as_it_stands(trained: tuple[Path, list[dict]]) -> None:
    folder, _ = trained
    potstill("train", "student/run.yaml", "--out", "again", cwd=folder)
    assert losses_of(folder / "again") == losses_of(folder / "student")


def test_everything_that_a_report_needs_is_there(trained: tuple[Path, list[dict]]) -> None:
    folder, _ = trained
    evaluation = json.loads((folder / "student" / "evaluation.json").read_text())
    assert set(evaluation["slices"]) == {"slice-0", "slice-1"}
    page = (folder / "student" / "report.html").read_text()
    assert len(page) < 2_000_000
    assert "slice-1" in page


def test_the_student_is_an_ordinary_model_that_generates(
    trained: tuple[Path, list[dict]],
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    student = trained[0] / "student"
    model, info = AutoModelForCausalLM.from_pretrained(student, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(student)
    inputs = tokenizer("What is", return_tensors="pt")
    assert model.generate(**inputs, max_new_tokens=3, do_sample=False).shape[1] > 3
