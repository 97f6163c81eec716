"""Parser `json`: an object such as {"reasoning": "…", "answer": 42}, in prose or a code fence."""

import json
import re
from typing import Any

from schemas.errors import ConfigError
from stage1_teacher.parsed_answer import Parsed, Parser, Span, trimmed

_DEFAULT = "reasoning,answer"
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder(strict=False)  # models write raw line breaks into strings


def json_object(argument: str | None) -> Parser:
    """The parser for a JSON object; `argument` is its two keys, by default `reasoning,answer`.

    The last object of the response that has the answer's key wins. Without the other key the
    thoughts are what stands before the object. An answer that is null or empty is none; a list or
    an object counts as its JSON text.
    """
    keys = [key.strip() for key in (argument or _DEFAULT).split(",")]
    if len(keys) != 2 or not all(keys):
        raise ConfigError(
            f"the parser json takes the two keys of thoughts and answer, found {argument!r}. "
            "Give for example --parser-argument thoughts,result."
        )
    return lambda text: _parsed(text, *keys)


def _parsed(text: str, thoughts: str, answer: str) -> Parsed | None:
    for start in reversed([match.start() for match in re.finditer(r"\{", text)]):
        members = _members(text, start)
        if answer in members:
            return _of(text, start, members.get(thoughts), members[answer])
    return None


def _of(
    text: str, start: int, thoughts: tuple[Any, Span] | None, answer: tuple[Any, Span]
) -> Parsed | None:
    value, span = answer
    said = value if isinstance(value, str) else text[span[0] : span[1]]
    found = trimmed(text, *span)
    if value is None or not said.strip() or found is None:
        return None
    told = thoughts is not None and isinstance(thoughts[0], str)
    rationale = thoughts[1] if thoughts and told else (0, _fence(text, start))
    said = said.encode("utf-8", "surrogatepass").decode("utf-8", "replace").strip()
    return Parsed(rationale=trimmed(text, *rationale), answer=found, answer_text=said)


def _fence(text: str, start: int) -> int:
    """Where the code fence begins that the object at `start` stands in; else `start`."""
    fence = re.search(r"`{3,}\w*\s*$", text[:start])
    return fence.start() if fence else start


def _members(text: str, start: int) -> dict[str, tuple[Any, Span]]:
    """Values of the object that opens at `start`, and where they stand; empty when there is none.

    Of a string the span leaves the quotes out.
    """
    members: dict[str, tuple[Any, Span]] = {}
    try:
        position = _skip(text, start + 1)
        while text[position] != "}":
            key, position = _DECODER.raw_decode(text, position)
            begin = _skip(text, _expect(text, position, ":"))
            value, position = _DECODER.raw_decode(text, begin)
            quoted = isinstance(value, str)
            members[str(key)] = value, (begin + quoted, position - quoted)
            position = _skip(text, position)
            if text[position] == ",":
                position = _skip(text, position + 1)
    except (ValueError, IndexError, RecursionError):
        return {}
    return members


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _expect(text: str, position: int, character: str) -> int:
    position = _skip(text, position)
    if text[position] != character:
        raise ValueError(f"no {character}")
    return position + 1
