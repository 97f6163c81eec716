"""Parsers `answer_is`, `boxed` and `last_number`: answers at the end of ordinary prose."""

import re
from collections.abc import Iterator

from stage1_teacher.parsed_answer import Parsed, Parser, Span, answered, trimmed
from stage1_teacher.refused_argument import refuse_argument
from stage1_teacher.written_numbers import written_numbers

_PHRASE = (
    r"(?:(?:[*_]{1,3}|#{1,6}[ ])|\b)(?:(?:so|thus|therefore|hence|and|then|finally),?\s+)*"
    r"(?:(?:the|my|our|your)\s+)?(?:(?:final|correct|right|best|numerical)\s+)*"
    r"\banswer\b(?:\s+to\s+[^.:\n]{1,80}?)?[*_]{0,3}\s*(?:(?:is|are)\b\s*:?|[:=])"
    r"|^[ \t]*(?:#{1,6}[ ]|[*_]{1,3})(?:the[ ])?(?:final[ ])?answer[*_]{0,3}[ \t]*$"
    r"|^[ \t]*#{4}(?!#)"
)
_BLOCK = re.compile(r"\\\[(?P<display>.+?)\\\]|\$\$(?P<dollars>.+?)\$\$", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?]+(?=[\s*_\"'”’)\]]|$)")
_EDGES = "*_`\"'“”‘’ \t\r"
_BRACES = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*)?\{|\\.|\}", re.DOTALL)


def answer_is(argument: str | None) -> Parser:
    r"""The parser for "The answer is 42."; `argument` is another phrase, in any case of letters.

    Also `Answer: 42`, a heading `## Answer`, and GSM8K's `#### 42`. The last such phrase that
    something follows wins; the answer is what follows, to the end of the sentence or line, without
    quotes and emphasis; of `$\boxed{42}$` it is what the box holds.
    """
    phrase = re.compile(
        re.escape(argument) + r"\s*:?" if argument else _PHRASE, re.IGNORECASE | re.MULTILINE
    )
    return lambda text: _phrase(text, phrase)


def boxed(argument: str | None) -> Parser:
    r"""The parser for the last complete \boxed{…}; braces inside may be nested."""
    refuse_argument("parser", "boxed", argument)
    return _boxed


def last_number(argument: str | None) -> Parser:
    """The parser for prose that ends in a number: the last one is the answer."""
    refuse_argument("parser", "last_number", argument)
    return _last_number


def _phrase(text: str, phrase: re.Pattern[str]) -> Parsed | None:
    for match in reversed(list(phrase.finditer(text))):
        answer = _statement(text, match.end())
        if answer is not None:
            return answered(text, (0, match.start()), answer)
    return None


def _statement(text: str, start: int) -> Span | None:
    """What is stated from `start` on: a box, a displayed formula, or the first line with words."""
    box = _last_box(text, start)
    first = trimmed(text, start, len(text))
    if box or first is None:
        return box
    block = _BLOCK.match(text, first[0])
    if block:
        return block.span(str(block.lastgroup))
    newline = text.find("\n", first[0])
    line = (first[0], newline if newline >= 0 else len(text))
    end = _SENTENCE_END.search(text, *line)
    return _without_edges(text, (line[0], end.start() if end else line[1]))


def _without_edges(text: str, span: Span) -> Span | None:
    """Without quotes and emphasis, and without brackets of formulas around the whole."""
    start, end = span
    while start < end and text[start] in _EDGES:
        start += 1
    while start < end and text[end - 1] in _EDGES + ",;:":
        end -= 1
    piece = text[start:end]
    for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        inner = piece[len(left) : len(piece) - len(right)]
        if piece.startswith(left) and piece.endswith(right) and inner.strip() and "$" not in inner:
            return start + len(left), end - len(right)
    return (start, end) if start < end else None


def _boxed(text: str) -> Parsed | None:
    boxes = list(_boxes(text, 0))
    return answered(text, (0, boxes[-1][0]), boxes[-1][1]) if boxes else None


def _last_box(text: str, begin: int) -> Span | None:
    boxes = list(_boxes(text, begin))
    return boxes[-1][1] if boxes else None


def _boxes(text: str, begin: int) -> Iterator[tuple[int, Span]]:
    r"""Where boxes that are closed begin, and what they hold; `\{` and `\}` are characters."""
    opened: list[re.Match[str]] = []
    for match in _BRACES.finditer(text, begin):
        if match[0].endswith("{") and match[0] != "\\{":
            opened.append(match)
        elif match[0] == "}" and opened:
            opening = opened.pop()
            if opening["box"] and text[opening.end() : match.start()].strip():
                yield opening.start(), (opening.end(), match.start())


def _last_number(text: str) -> Parsed | None:
    numbers = list(written_numbers(text))
    if not numbers:
        return None
    last = numbers[-1]
    return answered(text, (0, last.start), (last.start, last.end))
