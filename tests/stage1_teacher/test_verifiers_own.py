"""Verifiers of the user's own: what raises, hangs or dies is counted, wrong ones are refused."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from stage1_teacher.verifier_processes import in_processes
from stage1_teacher.verifiers import check_verifier
from tests.stage1_teacher.verdicts import judged

ROOT = Path(__file__).parents[2]


OWN = """
import os, time
from stage1_teacher.verdict import Verdict

def same(answer, gold):
    print("noise that must not disturb")
    if answer == "raise":
        raise RuntimeError("no such luck")
    if answer == "hang":
        time.sleep(60)
    if answer == "die":
        os._exit(3)
    return {"none": None, "text": "yes", "verdict": Verdict(correct=True, compared="mine")}.get(
        answer, answer == gold
    )

def at_least(limit):
    return lambda answer, gold: float(answer) >= float(limit)

def broken(limit):
    raise ValueError("no such limit")

number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own in the working directory."""
    (tmp_path / "own_verifiers.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return "own_verifiers"


def test_a_callable_that_raises_hangs_or_dies_is_counted(own: str) -> None:
    answers = ["4", "5", "raise", "hang", "die", "none", "text", "verdict", "4"]
    with in_processes(f"{own}:same", [], seconds=1.5, processes=2) as verify:
        found = verify([(answer, "4") for answer in answers])
    assert [v.correct for v in found] == [True, False, None, None, None, None, None, True, True]
    reasons = [v.compared for v in found]
    assert reasons[2] == "RuntimeError: no such luck"
    assert reasons[3] == "the verifier took longer than 1.5 s"
    assert reasons[4] == "the verifier's process died (exit status 3)"
    assert "gave None" in reasons[5]
    assert "gave str" in reasons[6]
    assert reasons[7] == "mine"


def test_no_process_stays_when_the_asking_one_is_killed(own: str, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    (tmp_path / "telling.py").write_text(
        "import os\n"
        f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        "def same(answer, gold): return True\n"
    )
    code = (
        f"import os, sys; sys.path.append({str(ROOT)!r})\n"
        "from stage1_teacher.verifiers import open_verifier\n"
        "with open_verifier('telling:same') as verify:\n"
        "    verify([('4', '4')])\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    asking = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert asking.returncode == -9
    worker = Path("/proc") / pid.read_text()
    deadline = time.monotonic() + 60
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(worker)


def _runs(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_callable_may_take_an_argument(own: str) -> None:
    assert judged(f"{own}:at_least", "5", "", "4").correct
    assert judged(f"{own}:at_least", "3", "", "4").correct is False


def test_an_entry_point_is_a_verifier(own: str, tmp_path: Path) -> None:
    info = tmp_path / "own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[potstill.verifiers]\nsame_text = {own}:same\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(tmp_path))
        assert judged("same_text", "4", "4").correct


@pytest.mark.parametrize(
    ("name", "argument", "parts"),
    [
        ("exakt", None, ["no verifier 'exakt'", "Did you mean exact"]),
        ("xyz", None, ["exact, numeric", "package.module:function"]),
        ("exact", "x", ["takes no argument"]),
        ("numeric", "much", ["relative tolerance", "'much'"]),
        ("numeric", "-1", ["relative tolerance"]),
        ("choice", "A,B", ["letters of the choices"]),
        ("regex", "(", ["no regular expression"]),
        ("regex", "x", ["must hold {gold}"]),
        ("no_such_module:f", None, ["cannot be used", "ModuleNotFoundError"]),
        ("own_verifiers:missing", None, ["cannot be used", "missing"]),
        ("own_verifiers:number", None, ["cannot be used", "no function"]),
        ("own_verifiers:broken", "3", ["cannot be used", "no such limit"]),
    ],
)
@pytest.mark.usefixtures("own")
def test_a_wrong_verifier_or_argument_is_refused(
    name: str, argument: str | None, parts: Sequence[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        check_verifier(name, argument)
    assert all(part in str(refused.value) for part in parts), refused.value
