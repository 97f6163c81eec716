"""What a GGUF file says about itself, without its vocabulary and weights.

Layout (little endian): magic `GGUF`, uint32 version, uint64 tensors, uint64 entries; an entry is a
string key, a uint32 type and a value; a string is a uint64 length and UTF-8 bytes; an array is a
uint32 element type, a uint64 count and the elements.
Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from schemas.errors import ModelError

Value = str | int | float | bool

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_LONGEST = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """Number of tensors, and all values that are no arrays, by key."""

    tensors: int
    values: Mapping[str, Value]


def read_header(path: Path) -> GgufHeader:
    """Reads the header.

    Raises:
        ModelError: there is no such file, it is no GGUF, or it is cut short.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise ModelError(
                    f"{path} is no GGUF file: it does not begin with the letters GGUF. "
                    "Give a .gguf file; a model folder needs no export."
                )
            version, tensors, entries = _unpack(file, "IQQ")
            if version not in (2, 3):
                raise ModelError(
                    f"{path} is GGUF version {version}, and 2 and 3 can be read. Convert it anew."
                )
            return GgufHeader(tensors=tensors, values=_values(file, entries))
    except OSError as error:
        raise ModelError(
            f"the GGUF file {path} cannot be read: {error.strerror}. Check the path."
        ) from error
    except (struct.error, ValueError, KeyError) as error:
        raise ModelError(
            f"the GGUF file {path} is damaged: its header cannot be read. Fetch it again."
        ) from error


def _values(file: BinaryIO, entries: int) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for _ in range(entries):
        key = _string(file)
        (kind,) = _unpack(file, "I")
        if kind == _ARRAY:
            _skip_array(file)
        elif kind == _STRING:
            found[key] = _string(file)
        else:
            (found[key],) = _unpack(file, _NUMBERS[kind])
    return found


def _skip_array(file: BinaryIO) -> None:
    kind, count = _unpack(file, "IQ")
    for _ in range(count if kind in (_STRING, _ARRAY) else 0):
        if kind == _STRING:
            file.seek(_unpack(file, "Q")[0], 1)
        else:
            _skip_array(file)
    if kind in _NUMBERS:
        file.seek(count * struct.calcsize(_NUMBERS[kind]), 1)


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "Q")
    if length > _LONGEST:
        raise ValueError(length)
    return file.read(length).decode("utf-8", "replace")


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    packed = struct.Struct(f"<{layout}")
    return packed.unpack(file.read(packed.size))
