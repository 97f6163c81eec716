"""The files that a dump is made of, and how one of them gets somewhere whole."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas import layout
from schemas.dump_folder import DumpFolder
from schemas.errors import DamagedError
from schemas.storage import explained
from schemas.storage_posix import temporary_name

_BLOCK = 4 << 20
_FOLDERS = (layout.TOKENIZER, layout.PREVIEW, layout.GOLD)

Tick = Callable[[int], None]
"""Told how many bytes were copied since the last call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpFile:
    """A file of a dump; `sha256` is known of shards only."""

    name: str
    bytes: int
    sha256: str | None = None


def dump_files(dump: DumpFolder) -> list[DumpFile]:
    """Every file that belongs to a dump, manifest.json last: with it a copy is complete."""
    files = [*_shards(dump), *_ledger(dump)]
    names = [f"{folder}/{name}" for folder in _FOLDERS for name in dump.names(folder)]
    beside = set(dump.listing(""))
    names += [name for name in (layout.PROJECTION, layout.RANKING, layout.CARD) if name in beside]
    sizes = {name: int(dump.filesystem.size(dump.join(name))) for name in [*names, layout.MANIFEST]}
    return [*files, *(DumpFile(name=name, bytes=size) for name, size in sizes.items())]


def _shards(dump: DumpFolder) -> Iterator[DumpFile]:
    for shard in dump.shards:
        name = f"{layout.DATA}/{shard.name}"
        yield DumpFile(name=name, bytes=shard.bytes, sha256=shard.sha256)
        if shard.hidden_sha256 is not None:
            name = f"{layout.HIDDEN}/{shard.name}"
            yield DumpFile(name=name, bytes=shard.hidden_bytes, sha256=shard.hidden_sha256)


def _ledger(dump: DumpFolder) -> Iterator[DumpFile]:
    for part in dump.manifest.ledger or []:
        name = layout.ledger_part(part.name)
        yield DumpFile(name=name, bytes=part.bytes, sha256=part.sha256)


def fetch_file(dump: DumpFolder, file: DumpFile, folder: Path, tick: Tick) -> None:
    """Copies a file into a local folder: under a temporary name, hashed, then under its own.

    Raises:
        DamagedError: its content is not what the manifest says.
    """
    target = folder / file.name
    temporary = folder / temporary_name(file.name)
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        total = hashlib.sha256()
        with (
            dump.filesystem.open(dump.join(file.name), "rb") as source,
            temporary.open("wb") as out,
        ):
            for block in iter(lambda: source.read(_BLOCK), b""):
                total.update(block)
                out.write(block)
                tick(len(block))
            out.flush()
            os.fsync(out.fileno())
        if file.sha256 is not None and f"sha256:{total.hexdigest()}" != file.sha256:
            raise DamagedError(
                f"{file.name} in {dump.url} was altered: sha256:{total.hexdigest()}, the manifest "
                f"says {file.sha256}. It was not kept. `potstill verify {dump.url}` says what else "
                "is wrong there."
            )
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)


def is_there(folder: Path, file: DumpFile) -> bool:
    """Whether a local folder holds the file: by content where its hash is known, else by size."""
    path = folder / file.name
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.bytes:
        return False
    return file.sha256 is None or local_sha256(path) == file.sha256


def local_sha256(path: Path) -> str:
    """`sha256:<hex>` of a local file."""
    with path.open("rb") as source:
        return "sha256:" + hashlib.file_digest(source, "sha256").hexdigest()


def names_below(filesystem: Any, path: str) -> dict[str, int]:
    """Every file below a folder by its relative name, with its size; none if it is absent."""
    filesystem.invalidate_cache()
    try:
        found = filesystem.find(path, detail=True)
    except FileNotFoundError:
        return {}
    start = path.rstrip("/") + "/"
    return {str(n).removeprefix(start): int(i["size"] or 0) for n, i in found.items()}
