"""A dump's copy in a store or on the Hub: only what is missing there, manifest.json last."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from fsspec.implementations.local import LocalFileSystem

from pipeline.dataset_files import DumpFile, dump_files, local_sha256, names_below
from pipeline.dataset_hub import HubTarget, hub_place
from pipeline.dataset_moves import Moved, conflict, push_failure, ticker
from pipeline.dataset_settings import PushSettings
from schemas import layout
from schemas.dump_folder import DumpFolder, open_dump
from schemas.dump_search import locate, read_small
from schemas.errors import DamagedError, InputError, PotstillError
from schemas.manifest import Manifest
from schemas.progress import Report, ignore
from schemas.storage_posix import intended_name, temporary_name
from schemas.store_failures import store_failures
from schemas.strict_json import parse_model

_WHOLE_OR_ABSENT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"}
"""Stores whose objects appear when they are whole; elsewhere a temporary name is needed."""

_OF_THE_PLACE = {".gitattributes", ".gitignore", "LICENSE"}
"""Files that a repository has by itself."""


class Place(Protocol):
    """Where a dump goes."""

    def sizes(self) -> dict[str, int]:
        """What is there."""
        ...

    def read(self, name: str) -> bytes | None:
        """A small file there."""
        ...

    def put(self, files: Sequence[tuple[str, Path]]) -> Iterator[str]:
        """Copies files; yields each one's name when it is there."""
        ...


class FolderPlace:
    """A folder on any fsspec filesystem."""

    def __init__(self, url: str) -> None:
        self._filesystem, path = locate(url)
        self._path = path.rstrip("/")
        protocol = self._filesystem.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        self._direct = bool(names & _WHOLE_OR_ABSENT)

    def sizes(self) -> dict[str, int]:
        """See Place."""
        return names_below(self._filesystem, self._path)

    def read(self, name: str) -> bytes | None:
        """See Place."""
        return read_small(self._filesystem, f"{self._path}/{name}")

    def put(self, files: Sequence[tuple[str, Path]]) -> Iterator[str]:
        """See Place."""
        for name, source in files:
            target = f"{self._path}/{name}"
            self._filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
            if self._direct:
                self._filesystem.put_file(str(source), target)
            else:
                temporary = f"{self._path}/{temporary_name(name)}"
                try:
                    self._filesystem.put_file(str(source), temporary)
                    self._filesystem.mv(temporary, target)
                except BaseException:
                    self._remove(temporary)
                    raise
            yield name

    def _remove(self, path: str) -> None:
        if self._filesystem.exists(path):
            self._filesystem.rm_file(path)


def push(settings: PushSettings, report: Report = ignore, dry_run: bool = False) -> Moved:
    """Copies a local dump elsewhere; run again, it goes on.

    Raises:
        ConflictError: something else is there.
        DamagedError: a shard is not what the manifest says; it is not copied.
        InputError: no credentials, no room.
        TemporaryError: the store failed; what was copied stays.
    """
    dump = open_dump(settings.dump)
    if not isinstance(dump.filesystem, LocalFileSystem):
        raise InputError(
            f"{settings.dump} is not on this machine. Take it here first: `potstill dataset pull "
            f"{settings.dump} --out FOLDER`."
        )
    files = dump_files(dump)
    place = open_place(settings)
    with store_failures(settings.to):
        missing = _missing(dump, files, place, settings.to)
    if not dry_run:
        _copy(dump, missing, place, settings.to, report)
    return Moved(
        source=dump.url,
        target=settings.to,
        identity=dump.manifest.identity,
        files=len(files),
        copied=[file.name for file in missing],
        bytes=sum(file.bytes for file in missing),
        dry_run=dry_run,
    )


def open_place(settings: PushSettings) -> Place:
    """The folder or repository that a URL names."""
    hub = hub_place(settings.to)
    if hub is None:
        return FolderPlace(settings.to)
    return HubTarget(place=hub, private=settings.private)


def _missing(dump: DumpFolder, files: list[DumpFile], place: Place, where: str) -> list[DumpFile]:
    there = place.sizes()
    manifest = place.read(layout.MANIFEST) if layout.MANIFEST in there else None
    if manifest is not None:
        found = parse_model(Manifest, manifest, f"{where}/{layout.MANIFEST}").identity
        if found != dump.manifest.identity:
            raise conflict(where, [f"the dump {found}"], "--to")
        return [f for f in files if f.name not in there]
    known = {file.name: file for file in files}
    others = [
        name
        for name, size in there.items()
        if name not in _OF_THE_PLACE
        and intended_name(name.rpartition("/")[2]) is None
        and (name not in known or known[name].bytes != size)
    ]
    if others:
        raise conflict(where, sorted(others), "--to")
    return [file for file in files if file.name not in there]


def _copy(
    dump: DumpFolder, missing: list[DumpFile], place: Place, where: str, report: Report
) -> None:
    folder, tick = Path(dump.path), ticker("push", missing, report)
    sizes = {file.name: file.bytes for file in missing}
    copied = 0
    try:
        for name in place.put(list(_checked(folder, missing, dump.url))):
            tick(sizes[name])
            copied += 1
    except PotstillError:
        raise
    except Exception as error:  # of many libraries
        raise push_failure(error, where, copied, len(missing)) from error


def _checked(folder: Path, files: list[DumpFile], url: str) -> Iterator[tuple[str, Path]]:
    for file in files:
        path = folder / file.name
        if file.sha256 is not None and local_sha256(path) != file.sha256:
            raise DamagedError(
                f"{file.name} in {url} is not what the manifest says; nothing was copied. Run "
                f"`potstill verify {url}`."
            )
        yield file.name, path
