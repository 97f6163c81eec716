"""The compact profile: entries' ids stored as ranks by how often they are kept.

Frequent tokens get small numbers, whose bytes compress better. `ids.npy` in the dump is the table
from rank to id; FORMAT.md section 13 specifies it. Whoever reads through `DumpFolder` sees ids.
"""

import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas import layout
from schemas.errors import DamagedError

if TYPE_CHECKING:
    from schemas.dump_folder import DumpFolder

Ints = npt.NDArray[np.int32]

RANKED = "gap5-ranked"
"""The codec's name: gap5, with ranks for ids."""

COLUMNS = ("topk_ids", "tail_ids")
_KNOWN: dict[str, Ints] = {}
"""Tables by their hash: a table is read once per process, however many shards are opened."""


class RankedFile:
    """A shard whose ranks become ids again when it is read; otherwise a `pq.ParquetFile`."""

    def __init__(self, file: Any, ids: Ints) -> None:
        self._file, self._ids = file, ids

    def read_row_group(self, i: int, columns: Sequence[str] | None = None, **more: Any) -> pa.Table:
        """One row group, ids in place of ranks."""
        wanted = None if columns is None else list(columns)
        return mapped(self._file.read_row_group(i, columns=wanted, **more), self._ids)

    def read(self, columns: Sequence[str] | None = None, **more: Any) -> pa.Table:
        """The same of all row groups."""
        wanted = None if columns is None else list(columns)
        return mapped(self._file.read(columns=wanted, **more), self._ids)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "RankedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def readable(dump: "DumpFolder", file: Any) -> Any:
    """A shard's file as readers want it."""
    return RankedFile(file, read_ranking(dump)) if dump.manifest.ranking else file


def read_ranking(dump: "DumpFolder") -> Ints:
    """[V] the id of each rank.

    Raises:
        DamagedError: the table is missing, altered, or no permutation.
    """
    expected = str(dump.manifest.ranking)
    if expected not in _KNOWN:
        _KNOWN[expected] = _parsed(dump.read_bytes(layout.RANKING), dump, expected)
    return _KNOWN[expected]


def ranking_file(ids: Ints) -> bytes:
    """The bytes of ids.npy: NPY 1.0, int32 little endian."""
    sink = io.BytesIO()
    np.lib.format.write_array(sink, ids.astype("<i4"), version=(1, 0), allow_pickle=False)  # type: ignore[no-untyped-call]
    return sink.getvalue()


def ranking_sha256(data: bytes) -> str:
    """`sha256:<hex>` of the file, as the manifest names it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def ranks_of(ids: Ints) -> Ints:
    """[V] the rank of each id."""
    ranks = np.empty_like(ids)
    ranks[ids] = np.arange(len(ids), dtype=np.int32)
    return ranks


def mapped(table: pa.Table, numbers: Ints) -> pa.Table:
    """The table with every number n of its columns of ids replaced by numbers[n].

    Raises:
        DamagedError: one is beyond them.
    """
    for name in COLUMNS:
        if name in table.column_names:
            at = table.column_names.index(name)
            chunks = [_mapped(chunk, numbers) for chunk in table.column(at).chunks]
            field = table.schema.field(at)
            table = table.set_column(at, field, pa.chunked_array(chunks, type=field.type))
    return table


def _mapped(array: pa.Array, numbers: Ints) -> pa.Array:
    """Lists of lists, their offsets kept."""
    inner = array.values
    values = inner.values.to_numpy()
    if len(values) and values.view(np.uint32).max() >= len(numbers):
        raise DamagedError(
            f"an id's rank is {values.max()}, and there are {len(numbers)}: the shard was altered"
        )
    lists = pa.ListArray.from_arrays(inner.offsets, pa.array(numbers[values]), type=inner.type)
    return pa.ListArray.from_arrays(array.offsets, lists, type=array.type)


def _parsed(data: bytes, dump: "DumpFolder", expected: str) -> Ints:
    """Without numpy's own loader: nothing is unpickled."""
    found = ranking_sha256(data)
    if found != expected:
        raise DamagedError(
            f"{layout.RANKING} in {dump.url} was altered or cut short: {found}, expected "
            f"{expected}. Take a fresh copy of that file."
        )
    source, size = io.BytesIO(data), dump.manifest.tokenizer.head_size
    try:
        if np.lib.format.read_magic(source) != (1, 0):  # type: ignore[no-untyped-call]
            raise ValueError("another version of the NPY format")
        header = np.lib.format.read_array_header_1_0(source)  # type: ignore[no-untyped-call]
        if header != ((size,), False, np.dtype("<i4")):
            raise ValueError(f"{header} instead of {size} numbers of int32")
        ids: Ints = np.frombuffer(data, "<i4", offset=source.tell())
        if not np.array_equal(np.sort(ids), np.arange(size)):
            raise ValueError("it is no permutation")
    except ValueError as error:
        raise DamagedError(
            f"{layout.RANKING} in {dump.url} is no table of ids: {error}. The dump was written by "
            "something broken."
        ) from error
    return ids
