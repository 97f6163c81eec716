"""The folder of nightly dumps: what is in it, and how it changes without half-done states.

    OUT/2026-11-21/                    a complete dump
    OUT/.nightly/2026-11-21/           its night: appears whole, before the dump begins
        <corpus>.jsonl.zst             the rows that were new
        rows.sha256                    16 bytes of the hash of each
        dump/                          the dump, until it is complete
        done.json                      written when the dump is complete
    OUT/.nightly/status.json, log.jsonl, lock

A night without done.json is unfinished, and goes on before anything new is looked for. What stands
in rows.sha256 is never dumped again, also when the dump was moved away.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from schemas.errors import ConflictError, FormatError

WORK = ".nightly"
ROW_HASHES = "rows.sha256"
DONE = "done.json"
STATUS = "status.json"
LOG = "log.jsonl"
_LOCK = "lock"
_BEGUN = ".begun"


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """One night.

    Attributes:
        name: of its dump.
        folder: its own, below .nightly.
        dump: the dump's folder.
    """

    name: str
    folder: Path
    dump: Path

    @property
    def begun_dump(self) -> Path:
        """Where its dump grows."""
        return self.folder / "dump"

    @property
    def done(self) -> bool:
        """Whether its dump is complete."""
        return (self.folder / DONE).exists()

    @property
    def corpus(self) -> Path:
        """The rows that were new.

        Raises:
            FormatError: somebody removed them.
        """
        found = sorted(self.folder.glob("*.jsonl.zst"))
        if len(found) != 1:
            raise FormatError(
                f"the night {self.name} is not finished, and its rows are gone: {self.folder} "
                f"holds {len(found)} .jsonl.zst files. Remove that folder: its rows count as new "
                "again."
            )
        return found[0]


class NightlyFolder:
    """The folder; made when it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / WORK
        self.work.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Inside, nobody else works here; the lock dies with its process.

        Raises:
            ConflictError: somebody else does.
        """
        lock = FileLock(self.work / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConflictError(
                f"another `potstill nightly` works in {self.path}; {self.work / STATUS} says since "
                "when. Let it finish, or stop it: it goes on from there the next time."
            ) from None
        try:
            self._remove_begun()
            yield
        finally:
            lock.release()

    def nights(self) -> list[Night]:
        """All nights, the oldest first."""
        names = [p.name for p in self.work.iterdir() if p.is_dir() and not p.name.startswith(".")]
        return [self._night(name) for name in sorted(names, key=_order)]

    def begin(self, day: date, fill: Callable[[Path], int]) -> Night | None:
        """A new night, which appears whole or not at all.

        Args:
            day: what it is called after.
            fill: writes the night's files into a folder and gives the number of its rows.

        Returns:
            None where there are no rows.
        """
        folder = self.work / f"{_BEGUN}-{os.getpid()}"
        folder.mkdir()
        try:
            if not fill(folder):
                return None
            night = self._night(self._free_name(day))
            folder.rename(night.folder)
            sync_folder(self.work)
            return night
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def show(self, night: Night) -> None:
        """Moves a complete dump to its place, unless it is there."""
        if not night.dump.exists():
            night.begun_dump.rename(night.dump)
            sync_folder(self.path)

    def finish(self, night: Night, told: Mapping[str, Any]) -> None:
        """Marks a night as done."""
        write_json(night.folder / DONE, told)

    def retain(self, nights: int) -> list[str]:
        """Removes the row files of all but the last done nights; gives the names of those."""
        old = [night for night in self.nights() if night.done]
        removed = []
        for night in old[: max(0, len(old) - nights)]:
            for file in night.folder.glob("*.jsonl.zst"):
                file.unlink()
                removed.append(night.name)
        return removed

    def _night(self, name: str) -> Night:
        return Night(name=name, folder=self.work / name, dump=self.path / name)

    def _free_name(self, day: date) -> str:
        taken = {p.name for p in (*self.path.iterdir(), *self.work.iterdir())}
        name, number = day.isoformat(), 1
        while name in taken:
            number += 1
            name = f"{day.isoformat()}-{number}"
        return name

    def _remove_begun(self) -> None:
        for left in self.work.glob(f"{_BEGUN}-*"):
            shutil.rmtree(left, ignore_errors=True)


def _order(name: str) -> tuple[str, int]:
    """2026-11-21 before 2026-11-21-2 before 2026-11-21-10."""
    day, number = name[:10], name[11:]
    return day, int(number) if number.isdigit() else 1


@contextmanager
def synced(path: Path) -> Iterator[IO[bytes]]:
    """A new file, durable when the block is left."""
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes a file whole, over an older one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with synced(temporary) as file:
        file.write(json.dumps(data, indent=1, ensure_ascii=False).encode() + b"\n")
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
