import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from pipeline.output import Output, finite, status_line
from schemas.progress import Progress

ROOT = Path(__file__).parents[2]

NOISY = """
import os, sys, subprocess
from pipeline.output import Output
from schemas.progress import Progress
with Output(command="toy", json_wanted=True, quiet=False, long=True) as output:
    print("printed")
    os.write(1, b"written to the descriptor\\n")
    subprocess.run([sys.executable, "-c", "print('by a child')"])
    output.launch({"a": 1})
    output.report(Progress(stage="train", done=1, total=2, unit="steps",
                           figures={"step": 1, "loss": float("nan")}))
    output.result({"loss": 2.5}, "for people")
    output.next({"do this": "potstill x"})
print("after")
"""


def test_stdout_holds_json_lines_only_whatever_libraries_print() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", NOISY],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    *lines, after = ran.stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"event": "launch", "command": "toy", "settings": {"a": 1}},
        {
            **{"step": 1, "loss": None, "event": "status", "stage": "train"},
            **{"done": 1, "total": 2, "unit": "steps"},
        },
        {"event": "done", "command": "toy", "loss": 2.5},
    ]
    assert after == "after"
    for text in ("printed", "written to the descriptor", "by a child", "train: 1 of 2 steps"):
        assert text in ran.stderr
    assert "for people" not in ran.stdout + ran.stderr


def collected(capsys, *, quiet: bool) -> tuple[str, str]:
    with Output(command="toy", json_wanted=False, quiet=quiet, long=False) as output:
        output.launch({})
        output.report(Progress(stage="toy", done=1, total=1, unit="rows", message="hello"))
        logging.getLogger("stage1_teacher.x").info("our log")
        logging.getLogger("somebody.else").info("their log")
        logging.getLogger("somebody.else").warning("their warning")
        output.result({"x": 1}, "the result")
        output.next({"do this": "potstill x"})
    told = capsys.readouterr()
    return told.out, told.err


def test_people_get_results_on_stdout_and_the_rest_on_stderr(capsys) -> None:
    out, err = collected(capsys, quiet=False)
    assert out == "the result\n"
    for text in ("hello", "our log", "their warning", "Next:", "  potstill x"):
        assert text in err
    assert "their log" not in err


def test_quiet_leaves_results_and_warnings(capsys) -> None:
    out, err = collected(capsys, quiet=True)
    assert out == "the result\n"
    assert err == "their warning\n"


def test_of_several_processes_only_the_first_speaks(capsys, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert collected(capsys, quiet=False) == ("", "their warning\n")
    with Output(command="toy", json_wanted=True, quiet=False, long=True) as output:
        output.launch({})
        output.result({"x": 1})
    assert capsys.readouterr().out == ""


def test_numbers_that_json_lacks_become_null() -> None:
    assert finite({"a": [float("inf"), 1], "b": (Path("x"), True)}) == {
        "a": [None, 1],
        "b": ["x", True],
    }


def test_a_status_keeps_its_own_words() -> None:
    line = status_line(Progress(stage="s", figures={"stage": 3.0, "loss": 1.0}, message="m"))
    assert line == {"stage": "s", "loss": 1.0, "event": "status", "message": "m"}
