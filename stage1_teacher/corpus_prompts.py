"""Rows that the teacher shall answer: prompts, and conversations up to their last answer."""

import difflib
import json
from contextlib import suppress
from typing import Any

from schemas.errors import CorpusError
from schemas.manifest import canonical
from stage1_teacher.corpus_columns import Columns, empty, named, value_of, wrong_type
from stage1_teacher.raw_rows import RawRow

_ANSWER = "assistant"


def no_prompt(raw: RawRow) -> CorpusError:
    """The error that a row holds nothing to answer."""
    close = difflib.get_close_matches("prompt", raw.columns, n=1)
    advice = f"Did you mean --prompt-column {close[0]}?" if close else "Name it: --prompt-column."
    return CorpusError(
        f"{raw.where}: no column `prompt` or `messages` for the teacher to answer; found "
        f"{named(raw.columns)}. {advice}"
    )


def to_answer(raw: RawRow, content: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """The content without the answer that the teacher shall give anew; gold and provenance.

    Raises:
        CorpusError: nothing is left, or the gold answer is missing or of another type.
    """
    extra = {"gold": _gold(raw, columns)} if columns.gold else {}
    provenance = raw.values.get("provenance")
    if provenance not in (None, ""):
        extra["provenance"] = _as_json(raw, provenance)
    messages = content.get("messages")
    if messages and messages[-1]["role"] == _ANSWER:
        content = {**content, "messages": messages[:-1]}
    if messages is not None and not content["messages"]:
        raise CorpusError(
            f"{raw.where}: the conversation has no turn before its answer, so there is nothing to "
            "answer. Remove the row."
        )
    return {**content, **extra}


def _gold(raw: RawRow, columns: Columns) -> str:
    name = columns.name("gold")
    value = value_of(raw, name, "gold")
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise empty(raw, name) if value == "" else wrong_type(raw, name, value, "text or a number")


def _as_json(raw: RawRow, value: Any) -> str:
    """JSON that stands in the corpus as text or as itself; other text as a JSON string."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = json.loads(value)
    try:
        return canonical(value).decode()
    except TypeError as error:
        raise wrong_type(raw, "provenance", value, "JSON") from error
