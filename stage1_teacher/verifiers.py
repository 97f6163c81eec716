"""Compares answers with gold answers: every verifier on one screen.

A verifier never stops a dump and is never silent: what it cannot compare, because it raised, hung
or met a gold answer without sense, is a verdict of its own (`correct` is None) with the reason.
"""

import difflib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import entry_points

from schemas.errors import ConfigError
from stage1_teacher.refused_argument import refuse_argument
from stage1_teacher.verdict import Compare, Pairs, Verdict, Verify, not_compared
from stage1_teacher.verifier_math import MEMORY
from stage1_teacher.verifier_numeric import numeric
from stage1_teacher.verifier_processes import in_processes
from stage1_teacher.verifier_text import choice, exact, regex

__all__ = ["GROUP", "VERIFIERS", "Verdict", "Verify", "check_verifier", "open_verifier"]

GROUP = "potstill.verifiers"
"""The entry-point group of other people's verifiers."""

Opened = AbstractContextManager[Verify]


def _here(make: Callable[[str | None], Compare]) -> Callable[[str | None], Opened]:
    """A verifier that is quick and bounded, so it runs in this process."""

    @contextmanager
    def opened(argument: str | None) -> Iterator[Verify]:
        compare = make(argument)

        def verify(pairs: Pairs) -> list[Verdict]:
            return [_compared(compare, answer, gold) for answer, gold in pairs]

        yield verify

    return opened


def _math(argument: str | None) -> Opened:
    refuse_argument("verifier", "math", argument)
    return in_processes("stage1_teacher.verifier_math:math_verdict", [str(MEMORY)])


VERIFIERS: dict[str, Callable[[str | None], Opened]] = {
    "exact": _here(exact),
    "numeric": _here(numeric),
    "math": _math,
    "choice": _here(choice),
    "regex": _here(regex),
}
"""What opens a verifier with its argument; further ones come from the entry-point group."""


def open_verifier(name: str, argument: str | None = None) -> Opened:
    """Opens a verifier: one of `VERIFIERS`, of the entry points, or `package.module:function`.

    A function takes answer and gold answer and gives true or false, or a `Verdict`; with an
    argument it takes that first, and gives such a function.

    Inside the `with` block it is a function of (answer, gold) pairs that gives one verdict each.

    Raises:
        ConfigError: there is none of that name, the argument is not for it, or it cannot be
            imported.
    """
    if name in VERIFIERS:
        return VERIFIERS[name](argument)
    return in_processes(_address(name), [] if argument is None else [argument])


def check_verifier(name: str, argument: str | None = None) -> None:
    """Opens a verifier and closes it again, to find out whether that works.

    Raises:
        ConfigError: see `open_verifier`.
    """
    with open_verifier(name, argument):
        pass


def _address(name: str) -> str:
    """Where a callable is: `package.module:function`."""
    installed = {point.name: point.value for point in entry_points(group=GROUP)}
    if name in installed:
        return installed[name]
    if ":" in name:
        return name
    known = [*VERIFIERS, *sorted(installed)]
    close = difflib.get_close_matches(name, known, n=1)
    advice = f"Did you mean {close[0]}?" if close else f"Give one of {', '.join(known)}"
    raise ConfigError(
        f"no verifier {name!r}. {advice}, or your own function as package.module:function."
    )


def _compared(compare: Compare, answer: str, gold: str) -> Verdict:
    try:
        return compare(answer, gold)
    except Exception as error:  # a defect of ours must not cost a night's dump
        return not_compared(f"{type(error).__name__}: {error}")
