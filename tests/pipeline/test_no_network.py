"""No telemetry and no surprise downloads: every command runs with sockets refused."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.command_line import potstill
from tests.tiny import tiny_teacher, write_rows


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Attempts to reach somebody; offline switches of libraries are off, so that they would try."""
    tried: list[Any] = []

    def refuse(_: socket.socket, address: Any) -> None:
        tried.append(address)
        raise OSError("sockets are refused in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *host, **_: refuse(None, host))  # type: ignore[arg-type]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return tried


def test_from_corpus_to_report_nothing_is_reached(tmp_path: Path, refused: list[Any]) -> None:
    rows = [{"text": f"Row {i} has the number {i * i} in it. " * 3} for i in range(12)]
    teacher = tiny_teacher(tmp_path / "teacher")
    corpus = write_rows(tmp_path / "corpus.jsonl", rows)
    dump, student = tmp_path / "dump", tmp_path / "student"
    training = ["--steps", 2, "--batch-size", 2, "--holdout", "0.4", "--log-steps", 1]
    for words in (
        ["dump", "--teacher", teacher, "--corpus", corpus, "--out", dump, "--preview", 1],
        ["dump", "--teacher", teacher, "--corpus", corpus, "--out", dump, "--dry-run"],
        ["dump", "--teacher", teacher, "--corpus", corpus, "--out", dump],
        ["verify", dump],
        ["inspect", dump],
        ["train", "--dump", dump, "--student", teacher, "--out", student, *training],
        ["evaluate", student, "--dump", dump],
        ["report", student],
        ["doctor", tmp_path],
        ["examples"],
        ["schema", "train"],
    ):
        ran = potstill(*words)
        assert ran.code == 0, (words, ran.err)
    assert refused == []


def test_libraries_are_told_not_to_report() -> None:
    potstill("--version")
    for name in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "VLLM_NO_USAGE_STATS"):
        assert os.environ[name] == "1"


def test_the_test_can_fail(refused: list[Any]) -> None:
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", 9))
    assert refused
