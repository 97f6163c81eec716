import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from stage1_teacher.bounded_regex import SECONDS
from stage1_teacher.verdict import Verdict
from stage1_teacher.verifier_processes import in_processes
from stage1_teacher.verifiers import VERIFIERS, check_verifier, open_verifier

ROOT = Path(__file__).parents[2]


def judged(name: str, answer: str, gold: str, argument: str | None = None) -> Verdict:
    with open_verifier(name, argument) as verify:
        (verdict,) = verify([(answer, gold)])
    return verdict


@pytest.mark.parametrize(
    ("answer", "gold", "correct"),
    [
        (" Paris\n", "paris", True),
        ("Ｐａｒｉｓ", "Paris", True),
        ("Cafe\u0301", "Café", True),
        ("New\u00a0 York", "new york", True),
        ("Straße", "STRASSE", True),
        ("Paris.", "Paris", False),
        ("Rome", "Paris", False),
        ("", "Paris", False),
        ("", " ", None),
    ],
)
def test_exact(answer: str, gold: str, correct: bool | None) -> None:
    assert judged("exact", answer, gold).correct is correct


@pytest.mark.parametrize(
    ("answer", "gold", "correct"),
    [
        ("72", "Natalia sold 48/2 = 24 clips.\n48 + 24 = 72\n#### 72", True),
        ("$1,234.50", "1234.5", True),
        ("1 234", "1234", None),
        ("1\u202f234 km", "1,234", True),
        ("1/2", "0.5", True),
        ("1 1/2", "1.5", True),
        ("\\frac{1}{2}", "0.5", True),
        ("$\\$18$", "18", True),
        ("50%", "50", True),
        ("50%", "0.5", True),
        ("0.5", "50 %", True),
        ("50%", "5%", False),
        ("-5", "5", False),
        ("−5", "-5", True),
        ("-$5", "-5", True),
        ("2.5 million", "2,500,000", True),
        ("1e3", "1000", True),
        ("x = 3 + 4 = 7", "7", True),
        ("7 apples", "7", True),
        ("7, yes 7", "7", True),
        ("0.333333333", "1/3", True),
        ("0.333", "1/3", False),
        ("1e-9", "2e-9", False),
        ("1e-9", "0", False),
        ("0", "-0", True),
        ("blue", "7", False),
        ("", "7", False),
        ("7 or 8", "7", None),
        ("7", "7 or 8", None),
        ("7", "blue", None),
        ("7", "", None),
        ("1e999999999", "7", False),
        ("9" * 100_000, "7", False),
    ],
)
def test_numeric(answer: str, gold: str, correct: bool | None) -> None:
    assert judged("numeric", answer, gold).correct is correct


def test_numeric_with_a_tolerance() -> None:
    assert judged("numeric", "0.333", "1/3", "0.01").correct
    assert judged("numeric", "101", "100", "1e-2").correct
    assert judged("numeric", "102", "100", "1e-2").correct is False
    assert judged("numeric", "100.0001", "100", "0").correct is False


@pytest.mark.parametrize(
    ("answer", "gold", "correct"),
    [
        ("B", "B", True),
        ("(b)", "B", True),
        ("B) Paris", "B", True),
        ("B. Paris, not A", "B", True),
        ("Option C.", "(C)", True),
        ("**A**", "A", True),
        ("$\\boxed{\\text{D}}$", "D", True),
        ("2", "2", True),
        ("A", "B", False),
        ("A banana", "A", False),
        ("I think so", "I", False),
        ("The second", "T", False),
        ("3.5", "3", False),
        ("", "A", False),
        ("A", "", None),
        ("A", "the first", None),
    ],
)
def test_choice(answer: str, gold: str, correct: bool | None) -> None:
    assert judged("choice", answer, gold).correct is correct


@pytest.mark.parametrize(
    ("answer", "gold", "correct"),
    [("B", "1", True), ("a", "0", True), ("1", "B", False), ("E", "A", False), ("A", "4", None)],
)
def test_choice_of_given_letters(answer: str, gold: str, correct: bool | None) -> None:
    assert judged("choice", answer, gold, "ABCD").correct is correct


@pytest.mark.parametrize(
    ("answer", "gold", "argument", "correct"),
    [
        (" 42 km ", r"42\s*km", None, True),
        ("142 km", r"42\s*km", None, False),
        ("It is Paris (France).", "paris", r"(?i).*\b{gold}\b.*", True),
        ("f(x)", "f(x)", "{gold}", True),
        ("4", "(", None, None),
    ],
)
def test_regex(answer: str, gold: str, argument: str | None, correct: bool | None) -> None:
    assert judged("regex", answer, gold, argument).correct is correct


def test_a_catastrophic_gold_expression_is_stopped() -> None:
    started = time.process_time()
    verdict = judged("regex", "a" * 60 + "b", "(a|aa)+")
    assert verdict.correct is None
    assert "took longer" in verdict.compared
    assert time.process_time() - started < SECONDS + 3


def test_a_verdict_shows_what_was_compared() -> None:
    assert judged("numeric", "$1,234.5", "#### 1234").compared == "1234.5 ≠ 1234"
    assert judged("exact", " Paris", "PARIS").compared == "paris = paris"
    assert judged("choice", "blue", "A").compared == "no letter in 'blue' ≠ A"
    assert len(judged("exact", "a" * 10_000, "b").compared) < 600


def test_math_compares_meaning_and_survives_what_hangs_or_explodes() -> None:
    pairs = [
        ("\\frac{2}{4}", "$0.5$"),
        ("(x-1)(x+1)", "x^2-1"),
        ("2\\sqrt{2}", "\\sqrt{8}"),
        ("\\{2, 1\\}", "\\{1, 2\\}"),
        ("x=5", "5"),
        ("3", "4"),
        ("?", "4"),
        ("4", "?"),
        ("9^{9^{9^{9}}}", "1"),
        ("1/3", "1/3"),
    ]
    with in_processes(
        "stage1_teacher.verifier_math:math_verdict", [str(4 << 30)], seconds=4, processes=1
    ) as verify:
        found = verify(pairs)
    assert [v.correct for v in found] == [*[True] * 5, False, False, None, None, True]
    assert "nothing mathematical" in found[7].compared
    assert found[8].compared


def test_math_is_one_of_the_verifiers() -> None:
    assert judged("math", "1/2", "0.5").correct
    with pytest.raises(ConfigError, match="takes no argument"):
        check_verifier("math", "x")


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
    deadline = time.monotonic() + 20
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


def test_every_verifier_opens() -> None:
    for name in set(VERIFIERS) - {"math"}:
        check_verifier(name)
