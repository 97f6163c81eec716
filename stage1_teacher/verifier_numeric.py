"""Verifier `numeric`: numbers compared by value, however they are written."""

import re
from fractions import Fraction

from schemas.errors import ConfigError
from stage1_teacher.verdict import Compare, Verdict, compared, not_compared
from stage1_teacher.written_numbers import WrittenNumber, written_numbers

_TOLERANCE = Fraction(1, 1_000_000)
_RESULT = re.compile(r"=|≈|####|\\approx")


def numeric(argument: str | None) -> Compare:
    """Equal numbers: `1,234.50`, `$1234.5` and `2469/2` are the same.

    `argument` is the relative tolerance, by default 1e-6. Of an answer with `=` or GSM8K's `####`
    counts what follows the last one. `50%` equals 0.5, and 50 where the other side has no percent
    sign. Units are not compared. Several different numbers cannot be compared; an answer without a
    number is wrong.
    """
    tolerance = _tolerance(argument)
    return lambda answer, gold: _verdict(answer, gold, tolerance)


def _tolerance(argument: str | None) -> Fraction:
    if argument is None:
        return _TOLERANCE
    try:
        tolerance = Fraction(argument)
    except (ValueError, ZeroDivisionError):
        tolerance = Fraction(-1)
    if not 0 <= tolerance < 1:
        raise ConfigError(
            "the verifier numeric takes a relative tolerance from 0 to below 1, found "
            f"{argument!r}. Give for example --verifier-argument 0.001."
        )
    return tolerance


def _verdict(answer: str, gold: str, tolerance: Fraction) -> Verdict:
    expected = _numbers(gold)
    if len(expected) != 1:
        return not_compared(f"the gold answer {gold!r} holds {_count(expected)}")
    found = _numbers(answer)
    if len(found) > 1:
        return not_compared(f"the answer {answer!r} holds {_count(found)}")
    shown = _shown(expected[0])
    if not found:
        return compared(False, f"no number in {answer!r}", shown)
    equal = any(
        _close(left, right, tolerance)
        for left in _values(found[0], expected[0])
        for right in _values(expected[0], found[0])
    )
    return compared(equal, _shown(found[0]), shown)


def _numbers(text: str) -> list[WrittenNumber]:
    """The different numbers of the result that a text states."""
    result = _RESULT.split(text)[-1]
    numbers = {(n.value, n.percent): n for n in written_numbers(result)}
    return list(numbers.values())


def _values(number: WrittenNumber, other: WrittenNumber) -> list[Fraction]:
    if not number.percent or other.percent:
        return [number.value]
    return [number.value / 100, number.value]


def _close(found: Fraction, expected: Fraction, tolerance: Fraction) -> bool:
    return abs(found - expected) <= tolerance * abs(expected)


def _count(numbers: list[WrittenNumber]) -> str:
    return f"{len(numbers)} different numbers" if numbers else "no number"


def _shown(number: WrittenNumber) -> str:
    whole = number.value.denominator == 1
    text = str(number.value) if whole else f"{float(number.value):.12g}"
    return f"{text}%" if number.percent else text
