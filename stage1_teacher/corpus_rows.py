"""What a corpus row is: a text, a prompt with its response, or a conversation; and its hash."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.errors import CorpusError
from schemas.manifest import canonical
from stage1_teacher.raw_rows import RawRow

Kind = Literal["text", "prompt", "messages"]
Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns to read; None stands for the usual name, where a row has it.

    With none of `text`, `prompt` and `messages` given, a row is what it has: a conversation, else
    a prompt with its response, else a text. Columns without a meaning here are left unread.
    """

    text: str | None = None
    prompt: str | None = None
    response: str | None = None
    messages: str | None = None
    id: str | None = None
    source: str | None = None

    @property
    def wanted(self) -> frozenset[str]:
        """Every column that may be needed."""
        return frozenset(self.name(word) for word in self.__slots__)

    @property
    def given(self) -> dict[str, str]:
        """The names that differ from the usual ones, by meaning, for the manifest."""
        return {word: self.name(word) for word in self.__slots__ if self.name(word) != word}

    def name(self, word: str) -> str:
        """The column that has the meaning `word`."""
        return getattr(self, word) or word

    @property
    def kind(self) -> Kind | None:
        """What every row must be, or None when each row says it itself."""
        if self.messages:
            return "messages"
        if self.prompt or self.response:
            return "prompt"
        return "text" if self.text else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusRow:
    """One row, checked.

    Attributes:
        index: its place in the corpus, from 0.
        where: file and line, for messages.
        id: its own id, or a hash of its content with its index.
        source: its own source, or the corpus's name.
        kind: which of the following it has.
        text: a plain text.
        prompt: a prompt; `response` is what follows it.
        response: see `prompt`.
        messages: a conversation: a role, a text and perhaps more per message.
        digest: sha256 of everything above that the row brought itself.
    """

    index: int
    where: str
    id: str
    source: str
    kind: Kind
    text: str = ""
    prompt: str = ""
    response: str = ""
    messages: Sequence[Message] = field(default_factory=tuple)
    digest: bytes


def corpus_row(raw: RawRow, index: int, columns: Columns, source: str) -> CorpusRow:
    """Checks a row and finds out what it is.

    Raises:
        CorpusError: a column is missing, or its value is empty or of another type.
    """
    kind = columns.kind or _kind(raw)
    content = _CONTENT[kind](raw, columns)
    own = {word: _label(raw, columns, word) for word in ("id", "source")}
    labels = {word: value for word, value in own.items() if value is not None}
    digest = _digest(raw, {**content, **labels})
    return CorpusRow(
        index=index,
        where=raw.where,
        id=own["id"] or f"{digest.hex()[:16]}-{index}",
        source=own["source"] or source,
        kind=kind,
        digest=digest,
        **content,
    )


def _kind(raw: RawRow) -> Kind:
    """The richest kind that the row has values for."""
    has = {name for name, value in raw.values.items() if value is not None}
    if "messages" in has:
        return "messages"
    if {"prompt", "response"} <= has or ("prompt" in has and "text" not in has):
        return "prompt"
    if "text" in has:
        return "text"
    found = set(raw.columns) & {"text", "prompt", "messages"}
    if found:
        raise _empty(raw, sorted(found)[0])
    raise CorpusError(
        f"{raw.where}: no column `text`, `prompt` with `response`, or `messages`; found "
        f"{_names(raw.columns)}. {_advice(raw.columns)}"
    )


def _advice(columns: Sequence[str]) -> str:
    for word in ("text", "prompt", "response", "messages"):
        close = difflib.get_close_matches(word, columns, n=1)
        if close:
            return f"Did you mean --{word}-column {close[0]}?"
    return "Name the columns with --text-column, --prompt-column or --messages-column."


def _text(raw: RawRow, columns: Columns) -> dict[str, Any]:
    return {"text": _string(raw, columns, "text")}


def _prompt(raw: RawRow, columns: Columns) -> dict[str, Any]:
    return {word: _string(raw, columns, word) for word in ("prompt", "response")}


def _messages(raw: RawRow, columns: Columns) -> dict[str, Any]:
    name = columns.name("messages")
    value = _value(raw, name, "messages")
    if not isinstance(value, list):
        raise _wrong_type(raw, name, value, "a list of messages")
    messages = tuple(_message(raw, name, message) for message in value)
    if not any(message["content"].strip() for message in messages):
        raise _empty(raw, name)
    return {"messages": messages}


_CONTENT = {"text": _text, "prompt": _prompt, "messages": _messages}


def _message(raw: RawRow, name: str, message: Any) -> Message:
    """A message without its null fields, which Parquet adds; a missing content is an empty one."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise CorpusError(
            f"{raw.where}: a message in `{name}` has no role; found {_shown(message)}. "
            'A message is an object such as {"role": "user", "content": "…"}.'
        )
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        raise _wrong_type(raw, f"{name}.content", content, "text")
    return {**{k: v for k, v in message.items() if v is not None}, "content": content or ""}


def _string(raw: RawRow, columns: Columns, word: str) -> str:
    name = columns.name(word)
    value = _value(raw, name, word)
    if not isinstance(value, str):
        raise _wrong_type(raw, name, value, "text")
    if not value.strip():
        raise _empty(raw, name)
    return value


def _value(raw: RawRow, name: str, word: str) -> Any:
    if name not in raw.columns:
        close = difflib.get_close_matches(name, raw.columns, n=1)
        advice = f"Did you mean --{word}-column {close[0]}?" if close else ""
        raise CorpusError(
            f"{raw.where}: no column `{name}`; found {_names(raw.columns)}. "
            f"{advice or f'Name it with --{word}-column.'}"
        )
    value = raw.values[name]
    if value is None:
        raise _empty(raw, name)
    return value


def _label(raw: RawRow, columns: Columns, word: str) -> str | None:
    """A row's id or source as text; None where it has none."""
    name = columns.name(word)
    if getattr(columns, word) is not None:
        _value(raw, name, word)
    value = raw.values.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _wrong_type(raw, name, value, "text or a whole number")
    return str(value)


def _digest(raw: RawRow, content: Mapping[str, Any]) -> bytes:
    try:
        return hashlib.sha256(canonical(content)).digest()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{raw.where}: half of a surrogate pair (\\u{ord(error.object[error.start]):04x}), "
            "which no text may hold. Remove it."
        ) from error
    except TypeError as error:
        raise CorpusError(
            f"{raw.where}: a message holds a value that JSON cannot: {error}. Remove that field."
        ) from error


def _empty(raw: RawRow, name: str) -> CorpusError:
    return CorpusError(f"{raw.where}: `{name}` is empty. Remove the row, or fill it.")


def _wrong_type(raw: RawRow, name: str, value: Any, expected: str) -> CorpusError:
    return CorpusError(
        f"{raw.where}: `{name}` must be {expected}; found {type(value).__name__} {_shown(value)}. "
        "Change the corpus, or name another column."
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in columns[:12]) or "no columns"
