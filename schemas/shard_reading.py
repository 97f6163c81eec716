"""Opening one shard that may come from a stranger.

Opening a Parquet file runs registered Arrow extension hooks, even to read its metadata only. So the
raw footer is looked at first, and refused when it carries an Arrow schema; then size, format
version, plan, schema and encodings must be exactly what the manifest says. While reading, page
checksums are verified: without them most bit flips in a shard are read as numbers.
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from schemas.columns import Column, arrow_schema
from schemas.errors import DamagedError, PotstillError, TemporaryError
from schemas.parquet_footer import footer_claims
from schemas.shards import FOOTER_KEY
from schemas.store_failures import store_failure
from schemas.strict_json import parse_json

LARGEST_FOOTER = 64 << 20
"""Bytes; a footer grows with row groups times columns, and has 10 kB per row group."""

_ALWAYS_UNPACKED = 64 << 20
_MOST_UNPACKED = 200
"""Bytes of content that are always believed, and those per byte of the file: ours have 3 to 10."""

_WELL: set[bytes] = set()
"""Hashes of footers that were walked and found well: a command opens most shards several times."""

_MOST_WELL = 100_000

_MAGIC = b"PAR1"
_HOOKS = b"ARROW:schema"
_ENCODINGS = {"PLAIN", "RLE", "BYTE_STREAM_SPLIT"}


class ShardFault(DamagedError):
    """A sentence about "it": whoever knows the file's name tells it, see `DumpFolder.reading`."""


def open_parquet(filesystem: Any, path: str, size: int) -> pq.ParquetFile:
    """Opens a Parquet file of exactly `size` bytes that carries no Arrow schema.

    Raises:
        ShardFault: it is missing, of another size, no regular file, or no such Parquet file.
        TemporaryError: the store failed.
    """
    local = isinstance(filesystem, LocalFileSystem)
    try:
        found = regular_size(path) if local else filesystem.size(path)
        if found != size:
            raise ShardFault(f"it has {found:,} bytes instead of {size:,}: cut short or altered")
        source = filesystem.open(path, "rb")
        check_raw_footer(source, size)
        if local:
            source.close()
            return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        return pq.ParquetFile(source, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise ShardFault("it is missing") from error
    except (pa.ArrowException, ValueError) as error:
        raise ShardFault(f"it is no readable Parquet file: {error}") from error
    except OSError as error:
        raise (not local and store_failure(error, path)) or _unreadable(error) from error


def check_footer(
    file: pq.ParquetFile, columns: list[Column], expected: Mapping[str, object]
) -> None:
    """Checks schema and our own footer key.

    Raises:
        ShardFault: something is not exactly as expected; names it.
    """
    schema = arrow_schema(columns)
    if not file.schema_arrow.equals(schema):
        raise ShardFault(f"its columns are not the dump's: {_schema_difference(file, schema)}")
    metadata = file.metadata
    text = (metadata.metadata or {}).get(FOOTER_KEY.encode())
    if text is None:
        raise ShardFault(f"its footer has no key {FOOTER_KEY!r}: potstill did not write it")
    found = parse_json(text, f"the footer key {FOOTER_KEY!r}")
    for name, value in expected.items():
        if not isinstance(found, dict) or found.get(name) != value:
            there = found.get(name) if isinstance(found, dict) else found
            raise ShardFault(f"its footer says {name} {there!r} instead of {value!r}")
    if metadata.num_rows != expected["rows"]:
        raise ShardFault(f"it has {metadata.num_rows} rows instead of {expected['rows']}")


def regular_size(path: str) -> int:
    """The size of a local file that is no link, pipe or device, in a folder that is no link.

    Raises:
        ShardFault: it is one.
        OSError: it is not there, or may not be looked at.
    """
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or os.path.islink(os.path.dirname(path)):
        raise ShardFault("it is no regular file: symbolic links are not followed inside a dump")
    return status.st_size


def check_raw_footer(source: BinaryIO, size: int) -> None:
    """Refuses what does not end as Parquet, carries an Arrow schema, or is a bomb.

    All that before pyarrow opens it.

    Raises:
        ShardFault: says which.
    """
    source.seek(max(0, size - 8))
    tail = source.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > min(size - 12, LARGEST_FOOTER):
        raise ShardFault("it does not end as a Parquet file does: cut short or altered")
    source.seek(size - 8 - length)
    footer = source.read(length)
    if _HOOKS in footer:
        raise ShardFault(
            "its footer carries an Arrow schema, which no shard has and which can run code"
        )
    seen = hashlib.sha256(footer + tail + size.to_bytes(8, "big")).digest()
    if seen not in _WELL:
        _check_claims(footer, size)
        if len(_WELL) >= _MOST_WELL:
            _WELL.clear()
        _WELL.add(seen)


def _schema_difference(file: pq.ParquetFile, expected: pa.Schema) -> str:
    found = {field.name: field for field in file.schema_arrow}
    for field in expected:
        if field.name not in found:
            return f"{field.name} is missing"
        if not found[field.name].equals(field):
            return f"{field.name} is {found[field.name].type} instead of {field.type}"
    extra = [name for name in found if name not in expected.names]
    return f"{extra[0]} is unknown" if extra else "their order differs"


def _check_claims(footer: bytes, size: int) -> None:
    """Refuses bombs: encodings that we do not write, or far more content than so few bytes hold."""
    try:
        claims = footer_claims(footer)
    except ValueError as error:
        raise ShardFault(f"it is no readable Parquet file: {error}") from error
    others = claims.encodings - _ENCODINGS
    if others:
        raise ShardFault(f"a column is encoded as {', '.join(sorted(others))}")
    most = _ALWAYS_UNPACKED + _MOST_UNPACKED * size
    if claims.uncompressed > most:
        raise ShardFault(
            f"it would unpack from {size:,} to {claims.uncompressed:,} bytes; at most {most:,} are "
            "believed"
        )


def _unreadable(error: OSError) -> PotstillError:
    if isinstance(error, PermissionError):
        return ShardFault(f"it may not be read: {error.strerror or error}")
    if error.errno is None:  # how pyarrow reports a file that it cannot make sense of
        return ShardFault(f"it is no readable Parquet file: {error}")
    return TemporaryError(f"the store failed: {error.strerror or error}. Try again later")
