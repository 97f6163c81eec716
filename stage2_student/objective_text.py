"""Sums of losses as users write them: `0.9*fkl(temperature=2) + 0.1*ce`.

    sum      = term { "+" term }
    term     = [ weight "*" ] name [ "(" [ argument { "," argument } ] ")" ]
    weight   = number | name "(" number "," number { "," argument } ")"
    argument = name "=" ( number | name | pair { pair } )
    pair     = word ":" word

Errors show the text with a caret under what is wrong, and name the nearest word that is right.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.errors import ConfigError

_WORDS = re.compile(
    r"(?P<pairs>\w+:\w+(\s+\w+:\w+)*)|(?P<number>(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<sign>[+*(),=])"
)
_EXAMPLE = "Write for example 0.9*fkl(temperature=2) + 0.1*ce."


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A number, a name, some pairs or a sign, and where in the text it stands."""

    text: str
    kind: str
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSchedule:
    """A weight that changes over the steps, as it was written: `linear(0, 1, until=1000)`.

    Attributes:
        shape: its name.
        ends: the two numbers that it goes between.
        arguments: (name, value) in the order in which they were written.
    """

    shape: Word
    ends: tuple[Word, Word]
    arguments: tuple[tuple[Word, Word], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTerm:
    """A term as it was written; nothing of it is checked yet but its shape.

    Attributes:
        source: the whole text, for errors.
        weight: the number before the star; None without one.
        schedule: what stands there in place of a number.
        name: of the loss.
        arguments: (name, value) in the order in which they were written.
        bracketed: whether there are brackets.
    """

    source: str
    weight: float | None
    schedule: WrittenSchedule | None
    name: Word
    arguments: tuple[tuple[Word, Word], ...]
    bracketed: bool

    @property
    def bare(self) -> bool:
        """Whether it is a name and nothing else."""
        return self.weight is None and self.schedule is None and not self.bracketed

    def wrong(self, word: Word, problem: str, advice: str) -> ConfigError:
        """An error that points at one of its words."""
        return _error(self.source, word, problem, advice)

    def given(self, known: Collection[str]) -> dict[str, Word]:
        """Its arguments by name.

        Raises:
            ConfigError: one is not among `known`, or is given twice.
        """
        found: dict[str, Word] = {}
        for name, value in self.arguments:
            if name.text not in known:
                problem = f"{self.name.text} has no argument {name.text!r}"
                raise self.wrong(name, problem, nearest(name.text, known))
            if name.text in found:
                raise self.wrong(name, f"{name.text} is given twice", "Leave one of them out.")
            found[name.text] = value
        return found


def read_terms(text: str) -> list[WrittenTerm]:
    """The terms of a sum.

    Raises:
        ConfigError: the text is no such sum; shows where it stops being one.
    """
    source = " ".join(text.split())
    reader = _Reader(source)
    terms = [reader.term()]
    while not reader.at("end"):
        reader.sign("+", "a term is followed by + and another one, or by nothing")
        terms.append(reader.term())
    return terms


def term_text(entry: Mapping[str, Any]) -> str:
    """A term given as keys and values, `{loss: fkl, weight: 0.9, temperature: 2}`, as text.

    Raises:
        ConfigError: the key `loss` is missing.
    """
    rest = dict(entry)
    name, weight = rest.pop("loss", None), rest.pop("weight", None)
    if name is None:
        raise ConfigError(
            f"a term of the loss has no key 'loss': found {dict(entry)}. Write for example "
            "{loss: fkl, weight: 0.9, temperature: 2}."
        )
    inside = ", ".join(f"{key}={value}" for key, value in rest.items())
    factor = "" if weight is None else f"{weight}*"
    return f"{factor}{name}" + (f"({inside})" if inside else "")


def nearest(word: str, words: Collection[str]) -> str:
    """Sentences that name the most similar word, if one is similar, and all there are."""
    close = difflib.get_close_matches(word, list(words), n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(words)}."


def _error(source: str, word: Word, problem: str, advice: str) -> ConfigError:
    caret = " " * word.start + "^" * max(1, len(word.text))
    return ConfigError(f"loss: {problem}\n  {source}\n  {caret}\n{advice}")


class _Reader:
    """Goes through the words of a text."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._words = _split(source)
        self._next = 0

    def at(self, kind: str, text: str | None = None) -> bool:
        """Whether the next word is of a kind, and a certain one."""
        word = self._words[self._next]
        return word.kind == kind and text in (None, word.text)

    def take(self) -> Word:
        """The next word."""
        self._next += 1
        return self._words[self._next - 1]

    def sign(self, text: str, expected: str) -> None:
        """Takes a certain sign."""
        if not self.at("sign", text):
            raise self._unexpected(expected)
        self.take()

    def term(self) -> WrittenTerm:
        """Takes a term."""
        weight, schedule = None, None
        if self.at("number"):
            weight = float(self.take().text)
        elif self._at_schedule():
            schedule = self._schedule()
        if weight is not None or schedule is not None:
            self.sign("*", "a weight is followed by * and a loss")
        name = self._name("a loss, or its weight and *, is expected")
        bracketed = self.at("sign", "(")
        return WrittenTerm(
            source=self._source,
            weight=weight,
            schedule=schedule,
            name=name,
            arguments=self._arguments() if bracketed else (),
            bracketed=bracketed,
        )

    def _at_schedule(self) -> bool:
        """Whether two numbers in brackets follow a name, which no loss has."""
        words = self._words[self._next : self._next + 4]
        kinds = [word.kind if word.kind != "sign" else word.text for word in words]
        return kinds == ["name", "(", "number", ","]

    def _schedule(self) -> WrittenSchedule:
        shape = self.take()
        _, first, _ = self.take(), self.take(), self.take()
        if not self.at("number"):
            raise self._unexpected("a schedule has two numbers, from and to")
        last, arguments = self.take(), list[tuple[Word, Word]]()
        while not self.at("sign", ")"):
            self.sign(",", "arguments are separated by commas and closed by )")
            arguments.append(self._argument())
        self.take()
        return WrittenSchedule(shape=shape, ends=(first, last), arguments=tuple(arguments))

    def _arguments(self) -> tuple[tuple[Word, Word], ...]:
        self.take()
        found: list[tuple[Word, Word]] = []
        while not self.at("sign", ")"):
            if found:
                self.sign(",", "arguments are separated by commas and closed by )")
            found.append(self._argument())
        self.take()
        return tuple(found)

    def _argument(self) -> tuple[Word, Word]:
        name = self._name("an argument's name is expected")
        self.sign("=", "an argument's name is followed by = and its value")
        if not any(map(self.at, ("number", "name", "pairs"))):
            raise self._unexpected("an argument's value, a number or a word, is expected")
        return name, self.take()

    def _name(self, expected: str) -> Word:
        if not self.at("name"):
            raise self._unexpected(expected)
        return self.take()

    def _unexpected(self, expected: str) -> ConfigError:
        word = self._words[self._next]
        found = f"found {word.text!r}" if word.text else "the text ends here"
        return _error(self._source, word, f"{expected}; {found}", _EXAMPLE)


def _split(source: str) -> list[Word]:
    words, place = [], 0
    while place < len(source):
        match = _WORDS.match(source, place)
        if match is None:
            odd = Word(text=source[place], kind="odd", start=place)
            raise _error(source, odd, f"{source[place]!r} has no meaning here", _EXAMPLE)
        words.append(Word(text=match[0], kind=str(match.lastgroup), start=place))
        place = match.end()
        place += len(source[place:]) - len(source[place:].lstrip())
    return [*words, Word(text="", kind="end", start=len(source))]
