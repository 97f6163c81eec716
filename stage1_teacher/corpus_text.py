"""Documents of a text file: the whole file, or parts of it where it is large."""

from collections.abc import Iterator
from typing import IO

from stage1_teacher.raw_rows import RawRow, decode_line

PART = 1 << 20
"""A document this long in bytes ends at its next blank line, twice as long at its next line."""


def read_text(file: IO[bytes], path: str, _: frozenset[str]) -> Iterator[RawRow]:
    """A .txt file as one row, or as several where it is longer than `PART`.

    Raises:
        CorpusError: it is not UTF-8.
    """
    lines: list[str] = []
    start, size = 1, 0
    for number, line in enumerate(file, 1):
        text = decode_line(line, path, number)
        lines.append(text)
        size += len(line)
        if size >= PART and (not text.strip() or size >= 2 * PART):
            yield _row("".join(lines), f"{path}, line {start}")
            lines, start, size = [], number + 1, 0
    if start == 1 or "".join(lines).strip():
        yield _row("".join(lines), f"{path}, line {start}")


def _row(text: str, where: str) -> RawRow:
    return RawRow(where=where, values={"text": text}, columns=["text"])
