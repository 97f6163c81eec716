r"""Numbers as people and models write them: found in a text, and their exact values.

Known: signs (also −), thousands separators (comma, apostrophe, thin or no-break space, LaTeX's
`{,}`), decimals with a point, exponents, fractions (`3/4`, `1 3/4`, `\frac{3}{4}`), percent,
currency signs and the words thousand to trillion. A decimal comma is not: `1,5` is two numbers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

_LONGEST = 400
"""Characters of the longest number, and the largest exponent: more is an attack on memory."""

_SIGN = r"(?:(?<![\w)])[-+\u2212\u2013])?"
_CURRENCY = r"(?:\\?[$€£¥₹]\s?)?"
_DIGITS = r"(?:\d{1,3}(?:(?:,|\{,\}|\\,|['’\u00a0\u2009\u202f])\d{3})+(?!\d)|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d+)?|(?<![\w.])\.\d+)(?:[eE][-+]?\d+(?!\w))?"
_WORDS = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_NUMBER = re.compile(
    rf"(?<![\w./\\])(?P<sign>{_SIGN}){_CURRENCY}(?P<inner>{_SIGN})(?:"
    rf"\\[dt]?frac\{{(?P<above>\s*-?\d+\s*)\}}\{{(?P<below>\s*\d+\s*)\}}"
    rf"|(?:(?P<whole>\d+)\s)?(?P<top>\d+)\s?/\s?(?P<bottom>\d+)(?![\d/]|\.\d)"
    rf"|(?P<decimal>{_DECIMAL}))"
    rf"(?P<word>\s(?:{'|'.join(_WORDS)})\b)?(?P<percent>\s?\\?%)?",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"[^\d.eE+-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenNumber:
    """A number in a text.

    Attributes:
        start: its first character, sign and currency included.
        end: behind its last one, percent sign included.
        value: exactly what is written; a percent sign does not change it.
        percent: whether a percent sign follows.
    """

    start: int
    end: int
    value: Fraction
    percent: bool


def written_numbers(text: str) -> Iterator[WrittenNumber]:
    """The numbers in a text from left to right; those beyond all measure are left out."""
    for match in _NUMBER.finditer(text):
        value = _value(match)
        if value is not None:
            yield WrittenNumber(
                start=match.start(), end=match.end(), value=value, percent=bool(match["percent"])
            )


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > _LONGEST:
        return None
    try:
        size = _size(match)
    except (ValueError, ZeroDivisionError):
        return None
    word = (match["word"] or "").strip().lower()
    negative = bool({"-", "−", "–"} & {*match["sign"], *match["inner"]})
    return (-size if negative else size) * Fraction(10 ** _WORDS.get(word, 0))


def _size(match: re.Match[str]) -> Fraction:
    if match["above"]:
        return Fraction(int(match["above"]), int(match["below"]))
    if match["top"]:
        return int(match["whole"] or 0) + Fraction(int(match["top"]), int(match["bottom"]))
    plain = _SEPARATORS.sub("", match["decimal"])
    if abs(int(plain.lower().partition("e")[2] or 0)) > _LONGEST:
        raise ValueError("an exponent beyond all measure")
    return Fraction(plain)
