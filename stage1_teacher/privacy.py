"""Private fields dropped or hashed, and texts scrubbed, before anything is stored.

A hash is the first 128 bits of sha256 over the field's name and value: the same value gives the
same hash in every dump, so ids stay stable from night to night.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from schemas.manifest import Settings
from stage1_teacher.corpus_rows import CorpusRow
from stage1_teacher.probability_floor import floored
from stage1_teacher.samples import Sample
from stage1_teacher.settings import DumpSettings
from stage1_teacher.shard_tables import Row

RowChange = Callable[[CorpusRow], CorpusRow]


def hashed(field: str, value: str) -> str:
    """32 hexadecimal digits."""
    return hashlib.sha256(f"{field}:{value}".encode()).hexdigest()[:32]


def private_rows(settings: DumpSettings, source: str) -> RowChange | None:
    """What is done to every corpus row as soon as it is read; None for nothing.

    Args:
        settings: what the user asked for.
        source: what a row without a source of its own is from.

    Raises:
        ConfigError: presidio is missing, or does not know an entity or a language.
    """
    scrub = None
    if settings.scrub:
        from stage1_teacher.scrubbing import open_scrubber

        scrub = open_scrubber(settings.scrub, settings.scrub_model, settings.scrub_language)
    own = {name for name in ("id", "source") if name in settings.hash_fields}
    if scrub is None and not own and "source" not in settings.drop_fields:
        return None

    def change(row: CorpusRow) -> CorpusRow:
        changes: dict[str, Any] = {name: hashed(name, getattr(row, name)) for name in own}
        if "source" in settings.drop_fields:
            changes["source"] = source
        found = replace(row, **changes)
        return found if scrub is None else _scrubbed(found, scrub)

    return change


def _scrubbed(row: CorpusRow, scrub: Callable[[str], str]) -> CorpusRow:
    texts = ("text", "prompt", "response", "gold")
    messages = tuple({**m, "content": scrub(m["content"])} for m in row.messages)
    changes: dict[str, Any] = {name: scrub(getattr(row, name)) for name in texts}
    return replace(row, messages=messages, provenance=_in_json(row.provenance, scrub), **changes)


def _in_json(text: str, scrub: Callable[[str], str]) -> str:
    """Every text inside a JSON value."""

    def change(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: change(item) for name, item in value.items()}
        if isinstance(value, list):
            return [change(item) for item in value]
        return scrub(value) if isinstance(value, str) else value

    return json.dumps(change(json.loads(text)), ensure_ascii=False) if text else text


def finisher(settings: Settings) -> Callable[[Row], Row]:
    """What is done to every row before it is written: texts hashed, rare draws left out."""
    privacy, capture = settings.privacy, settings.capture
    fields = set(privacy.hashed) - {"id", "source"} if privacy else set()

    def finish(row: Row) -> Row:
        sample, signals = row
        return _with_hashes(sample, fields), floored(signals, capture)

    return finish


def _with_hashes(sample: Sample, fields: set[str]) -> Sample:
    """An empty text says that there is none, and stays."""
    found = {n: hashed(n, str(t)) for n, t in sample.texts.items() if n in fields and t}
    return replace(sample, texts={**sample.texts, **found}) if found else sample
