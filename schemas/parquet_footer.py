"""What a Parquet footer says of its columns' encodings and sizes, read without Arrow.

Asking pyarrow for a column's metadata ends the whole process when the footer's size statistics are
malformed: the C++ exception is not caught. So footers from strangers are walked here, byte by byte,
in Thrift's compact protocol; only what is asked for is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_ROW_GROUPS, _COLUMNS, _METADATA = 4, 1, 3
"""Numbers of fields in FileMetaData, RowGroup and ColumnChunk."""

_ENCODINGS, _UNCOMPRESSED = 2, 6
"""Numbers of fields in ColumnMetaData."""

_BYTE, _NUMBERS, _DOUBLE, _BINARY, _LISTS, _MAP, _STRUCT = 3, (4, 5, 6), 7, 8, (9, 10), 11, 12
_DEEPEST = 16
_NAMES = {0: "PLAIN", 2: "PLAIN_DICTIONARY", 3: "RLE", 4: "BIT_PACKED", 8: "RLE_DICTIONARY"}
_NAMES |= {5: "DELTA_BINARY_PACKED", 6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}
_NAMES |= {9: "BYTE_STREAM_SPLIT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FooterClaims:
    """What a footer says; it may lie.

    Attributes:
        encodings: names of those that any column of any row group has.
        uncompressed: bytes that all columns take when they are unpacked.
    """

    encodings: frozenset[str]
    uncompressed: int


def footer_claims(footer: bytes) -> FooterClaims:
    """Reads a footer: the bytes before the length at a Parquet file's end.

    Raises:
        ValueError: it is no Parquet footer.
    """
    walk, encodings, uncompressed = _Walk(footer), set[int](), 0
    try:
        for _ in walk.items(_ROW_GROUPS):
            for _ in walk.items(_COLUMNS):
                for _ in walk.inside(_METADATA):
                    found, size = walk.column()
                    encodings.update(found)
                    uncompressed += max(0, size)
    except IndexError as error:
        raise ValueError("its footer ends too early") from error
    names = frozenset(_NAMES.get(number, f"encoding {number}") for number in encodings)
    return FooterClaims(encodings=names, uncompressed=uncompressed)


class _Walk:
    """Stands at a byte of a struct; every method leaves it behind what it read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def items(self, wanted: int) -> Iterator[None]:
        """Reads a struct whose field `wanted` is a list of structs; stops at each to be read."""
        for _, kind in self._fields(wanted):
            _expect(kind in _LISTS)
            count, inner = self._list()
            _expect(inner == _STRUCT)
            for _ in range(count):
                yield

    def inside(self, wanted: int) -> Iterator[None]:
        """Reads a struct whose field `wanted` is a struct; stops there for it to be read."""
        for _, kind in self._fields(wanted):
            _expect(kind == _STRUCT)
            yield

    def column(self) -> tuple[list[int], int]:
        """Reads a ColumnMetaData: the numbers of its encodings, and its unpacked size."""
        encodings: list[int] = []
        size = 0
        for number, kind in self._fields(_ENCODINGS, _UNCOMPRESSED):
            if number == _ENCODINGS and kind in _LISTS:
                count, inner = self._list()
                _expect(inner in _NUMBERS)
                encodings += [self._zigzag() for _ in range(count)]
            else:
                _expect(number == _UNCOMPRESSED and kind in _NUMBERS)
                size = self._zigzag()
        return encodings, size

    def _fields(self, *wanted: int) -> Iterator[tuple[int, int]]:
        """Reads a struct to its end; stops at fields of these numbers: number and kind."""
        number = 0
        while head := self._byte():
            kind, step = head & 15, head >> 4
            number = number + step if step else self._zigzag()
            if number in wanted:
                yield number, kind
            else:
                self._skip(kind, _DEEPEST)

    def _skip(self, kind: int, deepest: int) -> None:
        if deepest < 1:
            raise ValueError("its footer is nested too deep")
        if kind in _NUMBERS:
            self._varint()
        elif kind == _BINARY:
            length = self._varint()
            self._at += length
        elif kind == _STRUCT:
            self._skip_struct(deepest - 1)
        elif kind in _LISTS:
            count, inner = self._list()
            for _ in range(count):
                self._skip_item(inner, deepest - 1)
        elif kind == _DOUBLE:
            self._at += 8
        elif kind == _BYTE:
            self._at += 1
        elif kind not in (1, 2):  # booleans, whose value is their kind
            raise ValueError(f"its footer has a field of kind {kind}")

    def _skip_item(self, kind: int, deepest: int) -> None:
        if kind in (1, 2):
            self._at += 1
        else:
            self._skip(kind, deepest)

    def _skip_struct(self, deepest: int) -> None:
        while head := self._byte():
            if not head >> 4:
                self._varint()
            self._skip(head & 15, deepest)

    def _list(self) -> tuple[int, int]:
        head = self._byte()
        count = head >> 4
        count = self._varint() if count == 15 else count
        if count > len(self._data) - self._at:
            raise ValueError("its footer ends too early")
        return count, head & 15

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("its footer holds a number that is too long")
        return value | byte << shift

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte


def _expect(holds: bool) -> None:
    if not holds:
        raise ValueError("its footer has another shape")
