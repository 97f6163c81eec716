"""Opening a dump for reading, from any fsspec URL. Only names of `layout.py` are ever opened."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from schemas import layout
from schemas.codecs import CODECS
from schemas.columns import Column, hidden_columns, shard_columns
from schemas.dump_search import expand, locate, newest_ledger, nothing_complete, read_small
from schemas.errors import DamagedError, FormatError, InputError, MismatchError
from schemas.hidden_layers import sorted_layers
from schemas.ledger import read_ledger
from schemas.manifest import (
    Capture,
    Manifest,
    Shard,
    manifest_identity,
    plan_identity,
    settings_of,
)
from schemas.ranking import RANKED, readable
from schemas.shard_reading import ShardFault, check_footer, open_parquet
from schemas.store_failures import store_failure, store_failures
from schemas.strict_json import parse_model

_COMPANION = re.compile(
    r"^(README\.md|projection\.npy|ids\.npy|(tokenizer|preview|gold)/[A-Za-z0-9_][A-Za-z0-9._-]*)$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpFolder:
    """A dump opened for reading; picklable, so that it travels to data loader workers.

    Attributes:
        url: as the user gave it.
        manifest: the validated manifest.
        filesystem: the fsspec filesystem.
        path: the dump's folder on it.
        shards: the ledger, ascending by unit. Use this, not `manifest.shards`, which long ledgers
            leave empty.
    """

    url: str
    manifest: Manifest
    filesystem: Any
    path: str
    shards: Sequence[Shard]

    @property
    def columns(self) -> list[Column]:
        """The columns of every shard under data/, in file order."""
        capture = self.manifest.capture
        return shard_columns(capture.temperatures, capture.optional_columns)

    def shard_file(self, shard: Shard) -> pq.ParquetFile:
        """Opens a shard after checking size, footer, exact schema and plan identity.

        Page checksums are verified while reading. After `read_row_group`, call
        `schemas.value_ranges.check_values(table, manifest, where)`.

        Raises:
            DamagedError: the shard is missing, cut short or altered; names it and the cure.
        """
        name = f"{layout.DATA}/{shard.name}"
        with self.reading(name):
            file = open_parquet(self.filesystem, self.join(name), shard.bytes)
            check_footer(file, self.columns, self._footer(shard))
        return readable(self, file)

    @property
    def hidden_columns(self) -> list[Column]:
        """The columns of every shard under hidden/, in file order.

        Raises:
            InputError: the dump holds no hidden states.
        """
        capture = self.manifest.capture
        if not capture.hidden_layers or capture.hidden_codec is None:
            raise InputError(f"{self.url} holds no hidden states; dump with --hidden-layers.")
        return hidden_columns(capture.hidden_layers, capture.hidden_codec, capture.stored_width)

    def hidden_file(self, shard: Shard) -> pq.ParquetFile:
        """The same for the shard's hidden states under hidden/; `hidden_states.py` decodes them.

        Raises:
            InputError: the dump holds no hidden states.
            DamagedError: as above.
        """
        name, columns = f"{layout.HIDDEN}/{shard.name}", self.hidden_columns
        with self.reading(name):
            file = open_parquet(self.filesystem, self.join(name), shard.hidden_bytes)
            check_footer(file, columns, self._footer(shard))
        return file

    def read_text(self, name: str) -> str:
        """The text of one of the dump's companion files, e.g. "tokenizer/tokenizer.json"."""
        return self.read_bytes(name).decode()

    def read_bytes(self, name: str) -> bytes:
        """The content of README.md, projection.npy or a file in tokenizer/ or preview/.

        Raises:
            InputError: any other name.
            DamagedError: it is missing, or too large.
        """
        if not _COMPANION.match(name):
            raise InputError(f"{name!r} is no file that a dump has.")
        data = read_small(self.filesystem, self.join(name))
        if data is None:
            raise DamagedError(f"{name} is missing in {self.url}; take a fresh copy of the dump.")
        return data

    def names(self, folder: str) -> list[str]:
        """Names of the files in tokenizer/ or preview/ that `read_bytes` would read, ascending."""
        return [name for name in self.listing(folder) if _COMPANION.match(f"{folder}/{name}")]

    def listing(self, folder: str) -> list[str]:
        """Every name in one of the dump's folders, ascending; none when there is no such folder."""
        try:
            with store_failures(self.join(folder)):
                found = self.filesystem.ls(self.join(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def join(self, name: str) -> str:
        """The path of a name of `layout.py` on the filesystem."""
        return f"{self.path.rstrip('/')}/{name}"

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Says of which file of which dump an error is, and what to do; for reading row groups.

        Raises:
            DamagedError: the file is not what it should be.
            InputError: no or wrong credentials.
            TemporaryError: the store or the network failed.
        """
        try:
            yield
        except ShardFault as error:
            raise DamagedError(
                f"{name} in {self.url}: {str(error).rstrip('.')}. Run `potstill verify {self.url}` "
                "to see what else is wrong, then take a fresh copy of that file."
            ) from error
        except Exception as error:
            failure = store_failure(error, f"{name} in {self.url}")
            if failure is not None and not isinstance(self.filesystem, LocalFileSystem):
                raise failure from error
            if not isinstance(error, pa.ArrowException | OSError | ValueError):
                raise
            raise DamagedError(
                f"{name} in {self.url} cannot be read: {error}. Run `potstill verify {self.url}` "
                "to see what else is wrong, then take a fresh copy of that file."
            ) from error

    def _footer(self, shard: Shard) -> dict[str, object]:
        return {
            "format_version": self.manifest.format_version,
            "plan": self.manifest.plan,
            "codec": self.manifest.codec,
            "unit": shard.unit,
            "rows": shard.rows,
            "tokens": shard.tokens,
        }


def open_dump(url: str | Path, *, expect: str | None = None, growing: bool = False) -> DumpFolder:
    """Opens one dump.

    Args:
        url: a folder, or any fsspec URL of one.
        expect: the identity ("sha256:…") that the dump must have.
        growing: for an unfinished dump, take its newest ledger instead of refusing.

    Raises:
        InputError: nothing is there, or the URL is of no kind that can be read here.
        FormatError: not a dump, an unfinished one, or one of an unknown version.
        DamagedError: its manifest was cut short or altered.
        MismatchError: the dump has another identity than expected.
        TemporaryError: the store failed.
    """
    filesystem, path = locate(str(url))
    where = f"{url}/{layout.MANIFEST}"
    data = read_small(filesystem, f"{path.rstrip('/')}/{layout.MANIFEST}")
    if data is None and growing:
        with store_failures(str(url)):
            data = newest_ledger(filesystem, path)
    if data is None:
        with store_failures(str(url)):
            raise nothing_complete(filesystem, path, str(url))
    manifest = parse_model(Manifest, data, where)
    _check_manifest(manifest, where)
    if expect is not None and expect != manifest.identity:
        raise MismatchError(
            f"the dump at {url} is not the expected one: it is {manifest.identity}, expected "
            f"{expect}. Take the right dump, or expect this one."
        )
    root = path.rstrip("/")
    shards = read_ledger(manifest, lambda name: read_small(filesystem, f"{root}/{name}"), str(url))
    return DumpFolder(
        url=str(url), manifest=manifest, filesystem=filesystem, path=path, shards=shards
    )


def open_dumps(patterns: Sequence[str | Path]) -> list[DumpFolder]:
    """Opens several dumps; a pattern with `*`, `?` or `[` stands for every folder it matches.

    Raises:
        InputError: a pattern matches no folder.
        PotstillError: as `open_dump`.
    """
    urls = [url for pattern in patterns for url in expand(str(pattern))]
    return [open_dump(url) for url in dict.fromkeys(urls)]


def _check_manifest(manifest: Manifest, where: str) -> None:
    if manifest.codec not in CODECS:
        raise FormatError(
            f"{where} names the codec {manifest.codec!r}; this potstill reads "
            f"{', '.join(CODECS)}. Use the potstill that wrote it, or a newer one."
        )
    if (manifest.codec == RANKED) != (manifest.ranking is not None):
        raise DamagedError(f"{where} says only in part how ids are stored.")
    if manifest.plan != plan_identity(settings_of(manifest)):
        raise DamagedError(f"{where} was altered: its settings do not hash to its plan.")
    if manifest.identity != manifest_identity(manifest):
        raise DamagedError(f"{where} was altered: it does not hash to its identity.")
    units = [shard.unit for shard in manifest.shards]
    if units != sorted(set(units)):
        raise DamagedError(f"{where} names a unit twice, or out of order.")
    _check_hidden(manifest.capture, where)


def _check_hidden(capture: Capture, where: str) -> None:
    layers, codec, width = capture.hidden_layers, capture.hidden_codec, capture.hidden_width
    if layers != sorted_layers(layers):
        raise DamagedError(f"{where} names hidden layers twice, or out of order.")
    if bool(layers) != (codec is not None and width is not None):
        raise DamagedError(f"{where} says only in part how hidden states are stored.")
