"""Rows of a JSON-lines file: one object per line."""

import json
from collections.abc import Iterator
from typing import IO, Any

from schemas.errors import CorpusError
from stage1_teacher.raw_rows import RawRow, decode_line


def read_jsonl(file: IO[bytes], path: str, wanted: frozenset[str]) -> Iterator[RawRow]:
    """Rows of an unpacked .jsonl file; blank lines may only stand at its end.

    A line that is blank, not UTF-8 or no JSON object is a row that says what is wrong with it.
    """
    blank = 0
    for number, line in enumerate(file, 1):
        if not line.strip():
            blank = blank or number
            continue
        if blank:
            yield _blank(f"{path}, line {blank}")
            blank = 0
        yield _row(line, path, number, wanted)


def _row(line: bytes, path: str, number: int, wanted: frozenset[str]) -> RawRow:
    where = f"{path}, line {number}"
    try:
        found = _object(decode_line(line, path, number), where)
    except CorpusError as error:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        return RawRow(where=where, values={"": text}, columns=(), problem=str(error))
    values = {name: value for name, value in found.items() if name in wanted}
    return RawRow(where=where, values=values, columns=list(found))


def _blank(where: str) -> RawRow:
    problem = f"{where}: empty, where a JSON object is expected. Remove the line."
    return RawRow(where=where, values={"": ""}, columns=(), problem=problem)


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
