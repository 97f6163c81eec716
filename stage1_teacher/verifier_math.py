"""Verifier `math`: mathematical equality by math-verify (sympy); runs in a process of its own.

No time limit of math-verify's own is used: it works by signals, and turns what it stopped into
"wrong". The process is ended instead, and the verdict says so.
"""

import contextlib
import re
from typing import Any

from stage1_teacher.verdict import Compare, Verdict, compared, not_compared

MEMORY = 4 << 30
"""Bytes of address space: 9^{9^{9}} must not take the machine's."""

_DELIMITED = re.compile(r"\$|\\\(|\\\[|\\boxed")


def math_verdict(memory: str) -> Compare:
    """The function that compares two expressions, in LaTeX or plain; `memory` bytes are allowed.

    math-verify is not symmetric: what is expected comes first.
    """
    import logging

    from math_verify import verify  # type: ignore[import-untyped]

    logging.disable(logging.WARNING)  # it warns that we set no time limit
    _limit_memory(int(memory))

    def compare(answer: str, gold: str) -> Verdict:
        expected = _expressions(gold)
        if not expected:
            return not_compared(f"the gold answer {gold!r} holds nothing mathematical")
        found = _expressions(answer)
        if not found:
            return compared(False, f"nothing mathematical in {answer!r}", gold)
        equal = verify(expected, found, timeout_seconds=None, raise_on_error=True)
        return compared(bool(equal), _shown(found[0], answer), _shown(expected[0], gold))

    compare("\\frac{1}{2}", "0.5")  # the first one builds tables, which no answer shall pay for
    return compare


def _expressions(text: str) -> list[Any]:
    """What math-verify reads in a text: as a formula where nothing in it is marked as one."""
    from math_verify import parse

    forms = [text] if _DELIMITED.search(text) else [f"${text}$", text]
    for form in forms:
        found = parse(form, fallback_mode="no_fallback", parsing_timeout=None, raise_on_error=True)
        if found:
            return list(found)
    return []


def _shown(expression: Any, text: str) -> str:
    try:
        return str(expression)
    except ValueError:  # more digits than Python writes
        return text


def _limit_memory(wanted: int) -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):  # macOS knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
