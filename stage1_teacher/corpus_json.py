"""Rows of a JSON-lines file: one object per line."""

import json
from collections.abc import Iterator
from typing import IO, Any

from schemas.errors import CorpusError
from stage1_teacher.raw_rows import RawRow, decode_line


def read_jsonl(file: IO[bytes], path: str, wanted: frozenset[str]) -> Iterator[RawRow]:
    """Rows of an unpacked .jsonl file; blank lines may only stand at its end.

    Raises:
        CorpusError: a line is blank, not UTF-8, or no JSON object.
    """
    blank = 0
    for number, line in enumerate(file, 1):
        if not line.strip():
            blank = blank or number
            continue
        if blank:
            raise CorpusError(
                f"{path}, line {blank}: empty, where a JSON object is expected. Remove the line."
            )
        found = _object(decode_line(line, path, number), f"{path}, line {number}")
        values = {name: value for name, value in found.items() if name in wanted}
        yield RawRow(where=f"{path}, line {number}", values=values, columns=list(found))


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise CorpusError(
            f"{where}: not JSON ({error}). "
            'Every line must be one JSON object, such as {"text": "…"}.'
        ) from error
    if not isinstance(found, dict):
        raise CorpusError(
            f"{where}: found a JSON {type(found).__name__}, and a row is an object, "
            'such as {"text": "…"}.'
        )
    return found
