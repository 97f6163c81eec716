"""From a written term to one that can be computed: every word of it is checked here."""

from typing import get_args

from schemas.errors import ConfigError
from stage2_student.hidden_losses import HIDDEN_LOSSES
from stage2_student.hidden_terms import HiddenTerm
from stage2_student.losses import LOSSES, Loss
from stage2_student.objective_text import Word, WrittenTerm, nearest
from stage2_student.outcomes import Tail
from stage2_student.terms import Term
from stage2_student.weight_schedule import weight_schedule

SHARED = ("temperature", "tail")
"""Arguments of every loss that compares two distributions."""


def make_term(written: WrittenTerm, temperature: float | None, tail: Tail | None) -> Term:
    """The term.

    Args:
        written: by the user.
        temperature: of the option --temperature, for a term that names none; None without one.
        tail: the same of --tail; without one each loss has the tail that serves it best.

    Raises:
        ConfigError: an unknown loss or argument, a value out of range, or an option that says
            something else than the term.
    """
    kind = _kind(written)
    given = written.given([*(SHARED if kind.soft else ()), *kind.arguments])
    own = {
        name: _number(written, kind, name, given[name]) for name in kind.arguments.keys() & given
    }
    schedule = weight_schedule(written)
    if schedule is not None:
        weight = schedule.first
    else:
        weight = 1.0 if written.weight is None else written.weight
    if not kind.soft:
        return Term(
            loss=written.name.text, weight=weight, tail="none", arguments=own, schedule=schedule
        )
    _check_options(written, given, {"temperature": temperature, "tail": tail})
    return Term(
        loss=written.name.text,
        weight=weight,
        schedule=schedule,
        temperature=_temperature(written, given) or temperature or 1.0,
        tail=_tail(written, given) or tail or kind.tail,
        arguments=own,
    )


def _kind(written: WrittenTerm) -> Loss:
    name = written.name.text
    if name not in LOSSES:
        known = [*LOSSES, *HIDDEN_LOSSES]
        raise written.wrong(written.name, f"unknown loss {name!r}", nearest(name, known))
    return LOSSES[name]


def _number(written: WrittenTerm, kind: Loss, name: str, word: Word) -> float:
    allowed = kind.arguments[name]
    value = float(word.text) if word.kind == "number" else None
    if value is None or not allowed.allows(value):
        raise written.wrong(
            word,
            f"{name} is a number {allowed.range}; found {word.text}",
            f"The default is {allowed.default:g}.",
        )
    return value


def _temperature(written: WrittenTerm, given: dict[str, Word]) -> float | None:
    word = given.get("temperature")
    if word is None:
        return None
    value = float(word.text) if word.kind == "number" else 0.0
    if not 0 < value < float("inf"):
        problem = f"the temperature must be a positive number; found {word.text}"
        raise written.wrong(word, problem, "Try 1 or 2.")
    return value


def _tail(written: WrittenTerm, given: dict[str, Word]) -> Tail | None:
    word = given.get("tail")
    if word is None:
        return None
    choices: tuple[Tail, ...] = get_args(Tail)
    for choice in choices:
        if choice == word.text:
            return choice
    raise written.wrong(word, f"unknown tail {word.text!r}", nearest(word.text, choices))


def _check_options(
    written: WrittenTerm, given: dict[str, Word], options: dict[str, float | str | None]
) -> None:
    for name, option in options.items():
        word = given.get(name)
        if word is None or option is None:
            continue
        same = float(word.text) == option if word.kind == "number" else word.text == option
        if not same:
            shown = f"{option:g}" if isinstance(option, float) else option
            raise written.wrong(
                word,
                f"{name} is {word.text} here, and --{name} says {shown}",
                f"Leave --{name} out, or the argument.",
            )


def check_sum(terms: tuple[Term | HiddenTerm, ...]) -> None:
    """Checks what no term shows alone.

    Raises:
        ConfigError: no term, the same one twice, or weights that sum to zero.
    """
    written = [term.written for term in terms]
    if not terms:
        raise ConfigError("the loss has no term. Write for example 0.9*fkl + 0.1*ce.")
    labels = [term.label for term in terms]
    for label, text in zip(labels, written, strict=True):
        if labels.count(label) > 1:
            raise ConfigError(
                f"the loss has the term {text} twice. Add up the weights, or give them different "
                "arguments."
            )
    if not sum(term.most for term in terms) > 0:
        raise ConfigError(
            f"the weights of the loss sum to zero: {' + '.join(written)}. Nothing would be "
            "learned; give one of them a weight."
        )
