"""What a corpus row is: a text, a prompt with its response, or a conversation; and its hash.

Where the teacher shall answer itself, a row is a prompt, or a conversation up to its last answer.
"""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import CorpusError
from schemas.manifest import canonical
from stage1_teacher.corpus_columns import (
    Columns,
    Kind,
    Message,
    empty,
    named,
    shown,
    string,
    value_of,
    wrong_type,
)
from stage1_teacher.corpus_prompts import no_prompt, to_answer
from stage1_teacher.raw_rows import RawRow

__all__ = ["Columns", "CorpusRow", "Kind", "Message", "corpus_row", "unusable_row"]


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
        gold: the right answer to a prompt, where one was asked for.
        provenance: where a prompt came from, as JSON; empty where the corpus does not say.
        digest: sha256 of everything above that the row brought itself.
        problem: why it cannot be used; then it has no content.
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
    gold: str = ""
    provenance: str = ""
    digest: bytes
    problem: str = ""


def corpus_row(raw: RawRow, index: int, columns: Columns, source: str) -> CorpusRow:
    """Checks a row and finds out what it is.

    Raises:
        CorpusError: a column is missing, or its value is empty or of another type; or the row
            could not be read at all.
    """
    if raw.problem:
        raise CorpusError(raw.problem)
    kind = columns.kind or _kind(raw, columns)
    content = _CONTENT[kind](raw, columns)
    if columns.prompts_only:
        content = to_answer(raw, content, columns)
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


def unusable_row(raw: RawRow, index: int, source: str, problem: str) -> CorpusRow:
    """A row that cannot be used: its place, its hash, and why."""
    digest = hashlib.sha256(repr(sorted(raw.values.items())).encode("utf-8", "replace")).digest()
    return CorpusRow(
        index=index,
        where=raw.where,
        id=f"{digest.hex()[:16]}-{index}",
        source=source,
        kind="text",
        digest=digest,
        problem=problem,
    )


def _kind(raw: RawRow, columns: Columns) -> Kind:
    """The richest kind that the row has values for."""
    has = {name for name, value in raw.values.items() if value is not None}
    if "messages" in has:
        return "messages"
    if columns.prompts_only and "prompt" not in has:
        raise no_prompt(raw)
    if {"prompt", "response"} <= has or ("prompt" in has and "text" not in has):
        return "prompt"
    if "text" in has:
        return "text"
    found = set(raw.columns) & {"text", "prompt", "messages"}
    if found:
        raise empty(raw, sorted(found)[0])
    raise CorpusError(
        f"{raw.where}: no column `text`, `prompt` with `response`, or `messages`; found "
        f"{named(raw.columns)}. {_advice(raw.columns)}"
    )


def _advice(columns: Sequence[str]) -> str:
    for word in ("text", "prompt", "response", "messages"):
        close = difflib.get_close_matches(word, columns, n=1)
        if close:
            return f"Did you mean --{word}-column {close[0]}?"
    return "Name the columns with --text-column, --prompt-column or --messages-column."


def _text(raw: RawRow, columns: Columns) -> dict[str, Any]:
    return {"text": string(raw, columns, "text")}


def _prompt(raw: RawRow, columns: Columns) -> dict[str, Any]:
    words = ("prompt",) if columns.prompts_only else ("prompt", "response")
    return {word: string(raw, columns, word) for word in words}


def _messages(raw: RawRow, columns: Columns) -> dict[str, Any]:
    name = columns.name("messages")
    value = value_of(raw, name, "messages")
    if not isinstance(value, list):
        raise wrong_type(raw, name, value, "a list of messages")
    messages = tuple(_message(raw, name, message) for message in value)
    if not any(message["content"].strip() for message in messages):
        raise empty(raw, name)
    return {"messages": messages}


_CONTENT = {"text": _text, "prompt": _prompt, "messages": _messages}


def _message(raw: RawRow, name: str, message: Any) -> Message:
    """A message without its null fields, which Parquet adds; a missing content is an empty one."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise CorpusError(
            f"{raw.where}: a message in `{name}` has no role; found {shown(message)}. "
            'A message is an object such as {"role": "user", "content": "…"}.'
        )
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        raise wrong_type(raw, f"{name}.content", content, "text")
    return {**{k: v for k, v in message.items() if v is not None}, "content": content or ""}


def _label(raw: RawRow, columns: Columns, word: str) -> str | None:
    """A row's id or source as text; None where it has none."""
    name = columns.name(word)
    if getattr(columns, word) is not None:
        value_of(raw, name, word)
    value = raw.values.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise wrong_type(raw, name, value, "text or a whole number")
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
