"""Verifiers `exact`, `choice` and `regex`: answers compared as texts."""

import re

from schemas.errors import ConfigError
from stage1_teacher.bounded_regex import SECONDS, compiled
from stage1_teacher.normalised_text import normalised
from stage1_teacher.refused_argument import refuse_argument
from stage1_teacher.verdict import Compare, Verdict, compared, not_compared

GOLD = "{gold}"

_LETTER = re.compile(
    r"^[\s*_\"'“‘(\[{$]*(?:\\[a-z]+\s*\{\s*)*(?:option|choice|answer)?\s*[:(\[]*\s*"
    r"(?P<letter>[A-Za-z]|\d{1,2})(?![\w+/%]|[.,]\d|\s+[a-z]|'[a-z])",
    re.IGNORECASE,
)


def exact(argument: str | None) -> Compare:
    """Equal texts; Unicode forms, case and white space do not count."""
    refuse_argument("verifier", "exact", argument)

    def compare(answer: str, gold: str) -> Verdict:
        left, right = normalised(answer), normalised(gold)
        return compared(left == right, left, right) if right else not_compared("no gold answer")

    return compare


def choice(argument: str | None) -> Compare:
    """The letter (or number) of a choice: `B`, `(b)`, `B) Paris`, `Option B.`, `**B**`.

    `argument` is the letters that there are, such as ABCD; then 0, 1, … as the gold answer count
    from the first letter, as data sets with an index have it.
    """
    letters = (argument or "").upper()
    if argument is not None and (not letters.isalnum() or len(set(letters)) < len(letters)):
        raise ConfigError(
            f"the verifier choice takes the letters of the choices, found {argument!r}. "
            "Give for example --verifier-argument ABCD."
        )

    def compare(answer: str, gold: str) -> Verdict:
        left, right = _letter(answer), _indexed(_letter(gold), letters)
        if right is None or (letters and right not in letters):
            return not_compared(f"the gold answer {gold!r} is no letter of a choice")
        return compared(left == right, left or f"no letter in {answer!r}", right)

    return compare


def regex(argument: str | None) -> Compare:
    r"""The whole answer matches an expression: the gold answer, or `argument` around `{gold}`.

    In `argument` the gold answer is taken literally: `(?i).*\b{gold}\b.*`.
    """
    if argument is not None:
        compiled(argument.replace(GOLD, "gold"), "--verifier-argument")
        if GOLD not in argument:
            raise ConfigError(
                f"--verifier-argument of the verifier regex must hold {GOLD}, where the gold "
                f"answer is put; found {argument!r}."
            )
    return lambda answer, gold: _matches(answer, gold, argument)


def _matches(answer: str, gold: str, around: str | None) -> Verdict:
    expression = gold if around is None else around.replace(GOLD, re.escape(gold))
    try:
        pattern = compiled(expression, "the gold answer")
        found = pattern.fullmatch(answer.strip(), timeout=SECONDS)
    except ConfigError as error:
        return not_compared(str(error))
    except TimeoutError:
        return not_compared(f"{expression!r} took longer than {SECONDS:g} s")
    return compared(found is not None, answer.strip(), f"/{expression}/")


def _letter(text: str) -> str | None:
    found = _LETTER.match(text)
    return found["letter"].upper() if found else None


def _indexed(letter: str | None, letters: str) -> str | None:
    """A number as the letter that it counts to."""
    if letter is None or not letter.isdigit() or letter in letters or not letters:
        return letter
    return letters[int(letter)] if int(letter) < len(letters) else None
