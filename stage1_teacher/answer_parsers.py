"""Takes responses apart into rationale and answer: every parser on one screen.

All of them prefer the end of a response, where answers stand, and give characters of the response,
never of a changed copy. What does not have the parser's form is not guessed at.
"""

import difflib
from collections.abc import Callable
from functools import lru_cache

from schemas.errors import ConfigError
from stage1_teacher.parsed_answer import Parsed, Parser
from stage1_teacher.parser_json import json_object
from stage1_teacher.parser_phrases import answer_is, boxed, last_number
from stage1_teacher.parser_regex import regex
from stage1_teacher.parser_tags import tags

__all__ = ["PARSERS", "Parsed", "Parser", "open_parser", "parse"]

PARSERS: dict[str, Callable[[str | None], Parser]] = {
    "tags": tags,
    "answer_is": answer_is,
    "last_number": last_number,
    "boxed": boxed,
    "json": json_object,
    "regex": regex,
}
"""What makes a parser of its argument."""


@lru_cache(maxsize=16)
def open_parser(name: str, argument: str | None = None) -> Parser:
    """A parser, its argument checked.

    Raises:
        ConfigError: there is none of that name, or the argument is not for it.
    """
    if name not in PARSERS:
        close = difflib.get_close_matches(name, PARSERS, n=1)
        advice = f"Did you mean {close[0]}?" if close else f"Give one of {', '.join(PARSERS)}."
        raise ConfigError(f"no parser {name!r}. {advice}")
    return PARSERS[name](argument)


def parse(name: str, text: str, argument: str | None = None) -> Parsed | None:
    """Takes one response apart; None: it does not have the parser's form.

    Raises:
        ConfigError: see `open_parser`.
    """
    return open_parser(name, argument)(text)
