"""A row of a corpus as its file holds it, before anyone asks what it means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.errors import CorpusError


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """One row.

    Attributes:
        where: file and line, or dataset and row, for messages.
        values: the columns that were asked for, as far as they are there.
        columns: the names of all columns of the row.
        problem: what is wrong with it, where it cannot be read; its line is then the value of "".
    """

    where: str
    values: Mapping[str, Any]
    columns: Sequence[str]
    problem: str = ""


def decode_line(line: bytes, path: str, number: int) -> str:
    """A line as text; a byte-order mark at the start of a file is dropped.

    Raises:
        CorpusError: it is not UTF-8.
    """
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}, line {number}: not UTF-8 (byte 0x{line[error.start]:02x} at column "
            f"{error.start + 1}). Convert the file: iconv -f LATIN1 -t UTF-8 {path}"
        ) from error
