"""Parser `tags`: thoughts in <think>…</think>, the answer in <answer>…</answer>."""

import re

from schemas.errors import ConfigError
from stage1_teacher.parsed_answer import Parsed, Parser, answered

_DEFAULT = "think,answer"
_NAME = re.compile(r"[\w.:|-]+")


def tags(argument: str | None) -> Parser:
    """The parser for a pair of tags; `argument` is their names, by default `think,answer`.

    - An answer counts behind the thoughts only: what is rehearsed inside them is not one. The last
      closed answer wins; one that is not closed reaches to the end.
    - Without an answer tag the answer is all that follows the thoughts.
    - Thoughts may begin with the response, since chat templates write the opening tag themselves.
    - Thoughts that never end are no answer, unless an answer tag ends them.
    """
    names = [name.strip() for name in (argument or _DEFAULT).split(",")]
    if len(names) != 2 or not all(_NAME.fullmatch(name) for name in names):
        raise ConfigError(
            f"the parser tags takes the names of two tags, found {argument!r}. "
            "Give for example --parser-argument reasoning,answer."
        )
    think, answer = (_Tag(name) for name in names)
    return lambda text: _parsed(text, think, answer)


class _Tag:
    """The opening and the closing form of a tag, in any case."""

    def __init__(self, name: str) -> None:
        self.opening = re.compile(rf"<\s*{re.escape(name)}\s*>", re.IGNORECASE)
        self.closing = re.compile(rf"<\s*/\s*{re.escape(name)}\s*>", re.IGNORECASE)


def _parsed(text: str, think: _Tag, answer: _Tag) -> Parsed | None:
    opened, closings = think.opening.search(text), list(think.closing.finditer(text))
    start = opened.end() if opened else 0
    thoughts, begin = None, start
    if closings and start <= closings[-1].start():
        thoughts, begin = (start, closings[-1].start()), closings[-1].end()
    said = _answer_tag(text, begin, answer)
    if said is None:
        return answered(text, thoughts, (begin, len(text))) if thoughts else None
    inside, tag_start = said
    return answered(text, thoughts or (start, tag_start), inside)


def _answer_tag(text: str, begin: int, answer: _Tag) -> tuple[tuple[int, int], int] | None:
    """What the last answer tag holds, and where the tag itself begins."""
    openings = list(answer.opening.finditer(text, begin))
    for opening in reversed(openings):
        closing = answer.closing.search(text, opening.end())
        if closing:
            return (opening.end(), closing.start()), opening.start()
    if openings:
        return (openings[-1].end(), len(text)), openings[-1].start()
    return None
