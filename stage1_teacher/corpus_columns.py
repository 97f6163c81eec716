"""Which columns of a corpus mean what, and how a value is read from one."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from schemas.errors import CorpusError
from stage1_teacher.raw_rows import RawRow

Kind = Literal["text", "prompt", "messages"]
Message = Mapping[str, Any]

_WORDS = ("text", "prompt", "response", "messages", "id", "source")
_OF_PROMPTS = ("gold", "provenance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns to read; None stands for the usual name, where a row has it.

    With none of `text`, `prompt` and `messages` given, a row is what it has: a conversation, else
    a prompt with its response, else a text. Columns without a meaning here are left unread.

    With `prompts_only` no response is read: rows are prompts, or conversations to be answered, and
    may have a provenance. `gold` is read when it is named: the answer to compare with.
    """

    text: str | None = None
    prompt: str | None = None
    response: str | None = None
    messages: str | None = None
    id: str | None = None
    source: str | None = None
    gold: str | None = None
    prompts_only: bool = False

    @property
    def wanted(self) -> frozenset[str]:
        """Every column that may be needed."""
        return frozenset(self.name(word) for word in self._words)

    @property
    def _words(self) -> tuple[str, ...]:
        return _WORDS + _OF_PROMPTS if self.prompts_only else _WORDS

    @property
    def given(self) -> dict[str, str]:
        """The names that differ from the usual ones, by meaning, for the manifest."""
        return {word: self.name(word) for word in self._words if self.name(word) != word}

    def name(self, word: str) -> str:
        """The column that has the meaning `word`."""
        return getattr(self, word, None) or word

    @property
    def kind(self) -> Kind | None:
        """What every row must be, or None when each row says it itself."""
        if self.messages:
            return "messages"
        if self.prompt or self.response:
            return "prompt"
        return "text" if self.text else None


def string(raw: RawRow, columns: Columns, word: str) -> str:
    """The text in the column that has the meaning `word`.

    Raises:
        CorpusError: there is none.
    """
    name = columns.name(word)
    value = value_of(raw, name, word)
    if not isinstance(value, str):
        raise wrong_type(raw, name, value, "text")
    if not value.strip():
        raise empty(raw, name)
    return value


def value_of(raw: RawRow, name: str, word: str) -> Any:
    """The value of a column that must be there.

    Raises:
        CorpusError: it is not; names the nearest.
    """
    if name not in raw.columns:
        close = difflib.get_close_matches(name, raw.columns, n=1)
        advice = f"Did you mean --{word}-column {close[0]}?" if close else ""
        raise CorpusError(
            f"{raw.where}: no column `{name}`; found {named(raw.columns)}. "
            f"{advice or f'Name it with --{word}-column.'}"
        )
    value = raw.values[name]
    if value is None:
        raise empty(raw, name)
    return value


def empty(raw: RawRow, name: str) -> CorpusError:
    """The error that a value is empty."""
    return CorpusError(f"{raw.where}: `{name}` is empty. Remove the row, or fill it.")


def wrong_type(raw: RawRow, name: str, value: Any, expected: str) -> CorpusError:
    """The error that a value is of another type."""
    return CorpusError(
        f"{raw.where}: `{name}` must be {expected}; found {type(value).__name__} {shown(value)}. "
        "Change the corpus, or name another column."
    )


def shown(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def named(columns: Sequence[str]) -> str:
    """Names of columns for a message."""
    return ", ".join(f"`{name}`" for name in columns[:12]) or "no columns"
