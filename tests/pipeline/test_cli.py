import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.cli import spec_of
from pipeline.command_names import COMMANDS, GROUPS, PANELS
from pipeline.docs_page import PAGE, page
from pipeline.options import option_name
from tests.pipeline.command_line import potstill

ROOT = Path(__file__).parents[2]


def test_help_lists_every_command() -> None:
    ran = potstill("--help")
    assert ran.code == 0
    words = {name.partition(" ")[0] for name in COMMANDS} | set(GROUPS)
    assert all(word in ran.out for word in words)
    assert "No telemetry" in ran.out
    assert sorted(name for names in PANELS.values() for name in names) == sorted(words)


@pytest.mark.parametrize("first", GROUPS)
def test_help_of_a_group_lists_its_commands(first: str) -> None:
    ran = potstill(first, "--help")
    assert ran.code == 0
    seconds = [name.partition(" ")[2] for name in COMMANDS if name.startswith(f"{first} ")]
    assert all(re.search(rf"│ {second} ", ran.out) for second in seconds), ran.out


def test_help_is_quick() -> None:
    """0.3 s on an idle machine; the child's CPU time is compared, which load does not change."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'pipeline.cli', '--help'], check=True,"
        " stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)"
    )
    times = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(3)
    ]
    assert min(times) < 0.4, times


@pytest.mark.parametrize("name", COMMANDS)
def test_every_field_stands_in_exactly_one_panel_and_says_what_it_is(name: str) -> None:
    spec = spec_of(name)
    shown = [field for names in spec.panels.values() for field in names]
    assert sorted(shown) == sorted(set(spec.model.model_fields) - {spec.positional})
    assert all(field.description for field in spec.model.model_fields.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_shows_every_option_and_its_examples(name: str) -> None:
    spec = spec_of(name)
    ran = potstill(*name.split(), "--help")
    assert ran.code == 0, ran.err
    for names in spec.panels.values():
        assert all(option_name(field) in ran.out for field in names)
    assert "--json" in ran.out
    assert spec.examples


@pytest.mark.parametrize(
    "line", [line for name in COMMANDS for line in spec_of(name).examples], ids=lambda line: line
)
def test_examples_of_the_help_are_understood(line: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "student").mkdir()
    for file in (ROOT / "examples").glob("*.yaml"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "student" / "run.yaml").write_text((ROOT / "examples" / "train.yaml").read_text())
    program, *words = shlex.split(line.partition(" > ")[0])
    assert program == "potstill"
    ran = potstill(*words, "--show-config")
    assert ran.code == 0, ran.err


def test_the_page_of_commands_is_fresh() -> None:
    assert PAGE.read_text() == page(), "stale: run python -m pipeline.docs_page"


def test_the_page_of_commands_names_every_option() -> None:
    flags = set(re.findall(r"`(--[a-z-]+)`", page()))
    wanted = {option_name(f) for n in COMMANDS for f in spec_of(n).panels.values() for f in f}
    assert wanted <= flags


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["dmp"], ["'dmp'", "'dump'"]),
        (["verify", "--jsn", "x"], ["--jsn", "--json"]),
        (["dump", "--dtype", "int8"], ["int8", "bfloat16"]),
        (["inspect", "a", "b"], ["unexpected 'b'"]),
        (["dump", "a.yaml", "--config", "b.yaml"], ["one YAML file", "a.yaml and b.yaml"]),
        (["dump", "nowhere.yaml"], ["nowhere.yaml does not exist", "potstill examples"]),
    ],
)
def test_words_that_mean_nothing_exit_2_and_name_the_nearest(
    words: list[str], parts: list[str]
) -> None:
    ran = potstill(*words)
    assert ran.code == 2
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert all(part in ran.err for part in parts), ran.err


def test_an_error_is_json_too_when_json_is_wanted() -> None:
    ran = potstill("verify", "/nowhere", "--json")
    assert ran.code == 2
    (line,) = ran.lines
    assert line["event"] == "error"
    assert line["exit_code"] == 2
    assert "/nowhere" in line["message"]


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("schemas.dump_folder.open_dump", broken)


def test_a_bug_of_ours_says_where_to_report_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, RuntimeError("odd \x1b[31m"))
    ran = potstill("inspect", "x")
    assert ran.code == 70
    assert "Traceback" in ran.err
    assert "github.com" in ran.err
    assert "potstill doctor" in ran.err
    assert "\x1b[31m" not in ran.err.split("a bug in potstill")[1]


def test_ctrl_c_exits_130_and_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    ran = potstill("inspect", "x")
    assert ran.code == 130
    assert "go on" in ran.err


def test_show_config_names_each_origin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POTSTILL_SEED", "3")
    file = tmp_path / "run.yaml"
    file.write_text("teacher: t\ncorpus: c\nout: o\ntop_k: 5\n")
    ran = potstill("dump", file, "--top-k", "6", "--show-config", "--json")
    assert ran.code == 0
    (shown,) = ran.lines
    assert shown["teacher"] == {"value": "t", "origin": f"{file}, line 1"}
    assert shown["top_k"] == {"value": 6, "origin": "--top-k"}
    assert shown["seed"] == {"value": 3, "origin": "POTSTILL_SEED"}
    assert shown["dtype"]["origin"] == "default"


def test_output_may_be_cut_short_by_a_reader() -> None:
    started = time.monotonic()
    ran = subprocess.run(
        f"{sys.executable} -m pipeline.cli schema manifest | head -n 1",
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "{\n"
    assert "Traceback" not in ran.stderr
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("name", ["train", "evaluate", "report"])
def test_stage_two_needs_nothing_of_stage_one(name: str) -> None:
    code = (
        "import sys, importlib\n"
        f"importlib.import_module('pipeline.cli_{name}')\n"
        "import pipeline.facts, pipeline.report, pipeline.student_commands, pipeline.report_words\n"
        "print(sorted(m for m in sys.modules if m.startswith('stage1_teacher')))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
