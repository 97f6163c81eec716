"""What a verifier says about an answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

_LONGEST = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one comparison.

    Attributes:
        correct: whether the answer is the gold answer; None: that could not be found out.
        compared: what was compared, as it was compared: `42 = 42`, `41 ≠ 42`; else the reason.
    """

    correct: bool | None
    compared: str


Compare = Callable[[str, str], Verdict]
"""Compares an answer with a gold answer."""

Pairs = Sequence[tuple[str, str]]
"""Answers with their gold answers."""

Verify = Callable[[Pairs], list[Verdict]]
"""Compares pairs; one verdict each, in their order."""


def compared(correct: bool, answer: object, gold: object) -> Verdict:
    """The verdict over two values, both shown."""
    shown = f"{_cut(answer)} {'=' if correct else '≠'} {_cut(gold)}"
    return Verdict(correct=correct, compared=shown)


def not_compared(reason: str) -> Verdict:
    """The verdict that there is none, and why."""
    return Verdict(correct=None, compared=_cut(reason))


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
