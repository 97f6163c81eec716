"""Opening a dump for reading, from any fsspec URL. SIGNATURES, implementation follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from schemas.columns import Column
from schemas.manifest import Manifest, Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpFolder:
    """A dump opened for reading; picklable, so that it travels to data loader workers.

    Attributes:
        url: as the user gave it.
        manifest: the validated manifest.
        filesystem: the fsspec filesystem.
        path: the dump's folder on it.
    """

    url: str
    manifest: Manifest
    filesystem: Any
    path: str

    @property
    def shards(self) -> Sequence[Shard]:
        """The ledger, ascending by unit. Use this, not `manifest.shards`."""
        return self.manifest.shards

    @property
    def columns(self) -> list[Column]:
        """The columns of every shard under data/, in file order."""
        raise NotImplementedError

    def shard_file(self, shard: Shard) -> pq.ParquetFile:
        """Opens a shard after checking size, footer, exact schema and plan identity.

        Page checksums are verified while reading. After `read_row_group`, call
        `schemas.value_ranges.check_values(table, manifest, where)`.

        Raises:
            DamagedError: the shard is missing, cut short or altered; names it and the cure.
        """
        raise NotImplementedError

    def hidden_file(self, shard: Shard) -> pq.ParquetFile:
        """The same for the shard's hidden states under hidden/."""
        raise NotImplementedError

    def read_text(self, name: str) -> str:
        """The text of one of the dump's own small files, e.g. "tokenizer/tokenizer.json"."""
        raise NotImplementedError


def open_dump(url: str | Path, *, expect: str | None = None, growing: bool = False) -> DumpFolder:
    """Opens one dump.

    Args:
        url: a folder, or any fsspec URL of one.
        expect: the identity ("sha256:…") that the dump must have.
        growing: for an unfinished dump, take its newest ledger instead of refusing.

    Raises:
        InputError: nothing is there.
        FormatError: not a dump, an unfinished one, or one of an unknown version.
        MismatchError: the dump has another identity than expected.
    """
    raise NotImplementedError


def open_dumps(patterns: Sequence[str | Path]) -> list[DumpFolder]:
    """Opens several dumps; a pattern with `*`, `?` or `[` stands for every dump it matches."""
    raise NotImplementedError
