"""What a parser finds in a response: where the teacher thinks, and where it answers."""

from collections.abc import Callable
from dataclasses import dataclass

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A response taken apart; spans are half-open, in characters of the response.

    Attributes:
        rationale: the thoughts before the answer, or None where there are none.
        answer: the answer, markup around it left out.
        answer_text: what a verifier compares: the answer's characters, escapes undone.
    """

    rationale: Span | None
    answer: Span
    answer_text: str


Parser = Callable[[str], Parsed | None]
"""Takes a response apart; None: it does not have the parser's form."""


def trimmed(text: str, start: int, end: int) -> Span | None:
    """The span without white space at its ends; None when nothing is left."""
    piece = text[start:end]
    left = start + len(piece) - len(piece.lstrip())
    right = end - (len(piece) - len(piece.rstrip()))
    return (left, right) if left < right else None


def answered(text: str, rationale: Span, answer: Span) -> Parsed | None:
    """The usual result: both spans trimmed; None when there is no answer in its span.

    Thoughts that reach into the answer end where it begins.
    """
    found = trimmed(text, *answer)
    if found is None:
        return None
    if rationale[0] < found[1]:
        rationale = (rationale[0], min(rationale[1], found[0]))
    return Parsed(
        rationale=trimmed(text, *rationale), answer=found, answer_text=text[found[0] : found[1]]
    )
