"""Every bundled verifier: what it takes for right, and what it refuses."""

import time

import pytest

from schemas.errors import ConfigError
from stage1_teacher.bounded_regex import SECONDS
from stage1_teacher.verifier_processes import in_processes
from stage1_teacher.verifiers import VERIFIERS, check_verifier
from tests.stage1_teacher.verdicts import judged


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


def test_every_verifier_opens() -> None:
    for name in set(VERIFIERS) - {"math"}:
        check_verifier(name)
