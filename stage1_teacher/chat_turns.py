"""Where the turns of a conversation stand in the text that a chat template makes of it.

The template is rendered twice: with the contents, and with a marker in the place of each content.
What stands between the markers is markup; markup and contents, put together again, must give the
rendered text character by character, which proves the spans. A template that rewrites contents (it
drops the thoughts of earlier turns, say) fails that proof: then a turn begins where the same
conversation up to it, with the template's generation prompt, ends.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from schemas.errors import CorpusError
from stage1_teacher.corpus_rows import Message
from stage1_teacher.tokenizer import TeacherTokenizer

KIND_OF_ROLE = {
    "system": "system",
    "developer": "system",
    "user": "prompt",
    "assistant": "response",
    "tool": "tool",
}
"""The segment kind of a role's turns; other roles count as prompts."""

_MARKER = re.compile("\ue000(\\d+)\ue001")
_ANSWER = "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpan:
    """Characters [start, end) of a rendered text: what they are, and whether to learn them."""

    kind: str
    start: int
    end: int
    learned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """What a message says, its end-of-turn token included: characters [start, end)."""

    role: str
    start: int
    end: int


class ChatTurns:
    """Finds turns in conversations.

    Args of the constructor:
        tokenizer: with the chat template.
        learned: roles whose turns shall be learned.
    """

    def __init__(self, tokenizer: TeacherTokenizer, learned: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._learned = frozenset(learned)
        self._markup_of = lru_cache(maxsize=256)(self._markup)

    def render(self, messages: Sequence[Message]) -> tuple[str, list[TextSpan]]:
        """A conversation as text, and spans that tile it.

        Raises:
            CorpusError: the template refuses it, or hides where its turns are.
        """
        text = self._tokenizer.chat(messages)
        turns = self._proven(text, messages)
        if turns is None:
            turns = self._by_generation_prompt(text, messages)
        return text, list(self._tiled(turns, len(text)))

    def _proven(self, text: str, messages: Sequence[Message]) -> list[_Turn] | None:
        """Turns by markers; None when markup and contents do not give the text."""
        spoken = [index for index, m in enumerate(messages) if m["content"].strip()]
        markup = self._markup_around(messages, spoken)
        if markup is None or not text.startswith(markup[0]):
            return None
        position, turns = len(markup[0]), []
        for index, piece in zip(spoken, markup[1:], strict=True):
            end = _content_end(text, position, messages[index]["content"], piece)
            if end is None:
                return None
            turn = self._turn(text, messages, index, (position, end, end + len(piece)))
            turns.append(turn)
            position = end + len(piece)
        return turns if position == len(text) and self._complete(messages, spoken) else None

    def _turn(
        self, text: str, messages: Sequence[Message], index: int, bounds: tuple[int, int, int]
    ) -> _Turn:
        """A content, the token that ends its turn and, of an answer, its tool calls."""
        start, end, next_start = bounds
        after = text.find(self.end_of_turn, end, next_start) if self.end_of_turn else -1
        calls = messages[index].get("tool_calls")
        if after >= 0 and (calls or not text[end:after].strip()):
            end = after + len(self.end_of_turn)
        return _Turn(role=messages[index]["role"], start=start, end=end)

    def _complete(self, messages: Sequence[Message], spoken: Sequence[int]) -> bool:
        """Whether no turn to learn has tool calls only, which stand in what looks as markup."""
        silent = set(range(len(messages))) - set(spoken)
        return not any(
            messages[index].get("tool_calls") and messages[index]["role"] in self._learned
            for index in silent
        )

    def _markup_around(
        self, messages: Sequence[Message], spoken: Sequence[int]
    ) -> tuple[str, ...] | None:
        """What the template puts before, between and after the contents."""
        plain = all(set(message) == {"role", "content"} for message in messages)
        if plain and len(spoken) == len(messages):
            return self._markup_of(tuple(message["role"] for message in messages))
        return self._split(
            [
                {**message, "content": _marker(index)} if index in spoken else message
                for index, message in enumerate(messages)
            ]
        )

    def _markup(self, roles: tuple[str, ...]) -> tuple[str, ...] | None:
        return self._split(
            [{"role": role, "content": _marker(index)} for index, role in enumerate(roles)]
        )

    def _split(self, marked: Sequence[Message]) -> tuple[str, ...] | None:
        """None when the template refuses, drops, doubles or reorders a marker."""
        try:
            parts = _MARKER.split(self._tokenizer.chat(marked))
        except CorpusError:
            return None
        expected = [_MARKER.search(message["content"]) for message in marked]
        wanted = [found[1] for found in expected if found]
        return tuple(parts[::2]) if parts[1::2] == wanted else None

    @cached_property
    def end_of_turn(self) -> str:
        """The special token that ends an answer, spelt out; empty when the template has none."""
        markup = self._markup_of(("user", _ANSWER, "user"))
        after = markup[2] if markup else ""
        found = self._tokenizer.special_pattern.search(after)
        if found and not after[: found.start()].strip():
            return found[0]
        eos = self._tokenizer.eos
        return "" if eos is None else self._tokenizer.token(eos)

    def _by_generation_prompt(self, text: str, messages: Sequence[Message]) -> list[_Turn]:
        """Answers of a template that rewrites contents: from the generation prompt to their end."""
        if self._learned != {_ANSWER}:
            raise CorpusError(
                "the chat template rewrites this conversation, so that only answers can be told "
                f"apart; found capture_roles {', '.join(sorted(self._learned))}. "
                "Give --capture-roles assistant."
            )
        answers = [index for index, message in enumerate(messages) if message["role"] == _ANSWER]
        return [self._answer(text, messages[:index]) for index in answers]

    def _answer(self, text: str, before: Sequence[Message]) -> _Turn:
        prefix = self._tokenizer.chat(before, generation_prompt=True)
        if not text.startswith(prefix):
            raise CorpusError(
                f"the chat template rewrites what stands before answer {len(before) + 1}, so that "
                "the answer cannot be told apart. Split the conversation so that it ends there, "
                "or give --chat-template FILE."
            )
        start = len(prefix)
        after = text.find(self.end_of_turn, start) if self.end_of_turn else -1
        end = len(text) if after < 0 else after + len(self.end_of_turn)
        return _Turn(role=_ANSWER, start=start, end=end)

    def _tiled(self, turns: Sequence[_Turn], length: int) -> Iterator[TextSpan]:
        position = 0
        for turn in turns:
            if turn.start > position:
                yield _template(position, turn.start)
            yield TextSpan(
                kind=KIND_OF_ROLE.get(turn.role, "prompt"),
                start=turn.start,
                end=turn.end,
                learned=turn.role in self._learned,
            )
            position = turn.end
        if position < length:
            yield _template(position, length)


def _marker(index: int) -> str:
    return f"\ue000{index}\ue001"


def _template(start: int, end: int) -> TextSpan:
    return TextSpan(kind="template", start=start, end=end, learned=False)


def _content_end(text: str, position: int, content: str, piece: str) -> int | None:
    """Where a content ends that stands at `position` as it is or trimmed, before `piece`."""
    for form in (content, content.strip(), content.lstrip(), content.rstrip()):
        end = position + len(form)
        if text.startswith(form, position) and text.startswith(piece, end):
            return end
    return None
