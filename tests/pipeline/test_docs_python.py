"""docs/python.md runs as it stands there."""

from pathlib import Path

import pytest

from tests.test_docs import ROOT, python_blocks
from tests.tiny import tiny_teacher, write_rows


def test_the_page_about_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"Row {i} has the number {i * i} in it. " * 3} for i in range(16)]
    names = {
        "TEACHER": str(tiny_teacher(tmp_path / "teacher")),
        "CORPUS": str(write_rows(tmp_path / "corpus.jsonl", rows)),
    }
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(compile(python_blocks(ROOT / "docs" / "python.md"), "python.md", "exec"), names)
    told = capsys.readouterr().out
    assert "whole and aligned" in told
    assert "agreement" in told
    assert "16 samples" in told
    assert "top_k" in told.splitlines()[-1] or "top_k" in told
    assert (tmp_path / "student" / "report.html").exists()
