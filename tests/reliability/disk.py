"""What a disk may hold after a loss of power: everything durable, and any part of the rest.

Rebuilt from the trace of a worker's calls. Durable is what POSIX promises: fsync of a file keeps
its content, fsync of a folder keeps the names in it; everything else may be there or not, in any
combination, and content that was not synced may be there in half.
"""

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

Tree = dict[str, bytes | None]
"""Content by path; None for a folder."""


@dataclass(slots=True)
class Inode:
    """A file's content in pieces; `durable` of them are safe."""

    pieces: list[bytes] = field(default_factory=list)
    durable: int = 0


Entry = tuple[tuple[tuple[str, "Inode | str | None"], ...], str]
"""One change of a folder: names with what they now stand for, and the folder."""

FOLDER = "folder"


@dataclass(slots=True)
class Disk:
    """Replays a trace call by call; `states` gives every tree that a loss of power could leave."""

    entries: list[tuple[Entry, bool]] = field(default_factory=list)
    names: dict[str, Inode] = field(default_factory=dict)
    open: dict[int, Inode | str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "Disk":
        """A disk that holds what lies in a folder, durably."""
        disk = cls()
        for path in sorted([folder, *folder.rglob("*")]) if folder.exists() else ():
            content = path.read_bytes() if path.is_file() else None
            inode = FOLDER if content is None else Inode([content], durable=1)
            disk._enter(str(path), ((str(path), inode),))
        disk.entries = [(entry, True) for entry, _ in disk.entries]
        return disk

    def apply(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        """One call that succeeded."""
        handler = getattr(self, f"_{name}", None)
        if handler is not None:
            handler(args, result)

    def _open(self, args: tuple[Any, ...], fd: int) -> None:
        path, flags = args[0], args[1]
        if flags & os.O_CREAT:
            inode = Inode()
            self._enter(path, ((path, inode),))
            self.open[fd] = inode
        else:
            self.open[fd] = self.names.get(path, path)

    def _write(self, args: tuple[Any, ...], written: int) -> None:
        inode = self.open[args[0]]
        if isinstance(inode, Inode):
            inode.pieces.append(bytes(args[1][:written]))

    def _fsync(self, args: tuple[Any, ...], _: None) -> None:
        synced = self.open[args[0]]
        if isinstance(synced, Inode):
            synced.durable = len(synced.pieces)
            return
        self.entries = [(e, safe or e[1] == synced) for e, safe in self.entries]

    def _mkdir(self, args: tuple[Any, ...], _: None) -> None:
        self._enter(args[0], ((args[0], FOLDER),))

    def _rename(self, args: tuple[Any, ...], _: None) -> None:
        inode = self.names[args[0]]
        self._enter(args[1], ((args[0], None), (args[1], inode)))

    def _link(self, args: tuple[Any, ...], _: None) -> None:
        self._enter(args[1], ((args[1], self.names[args[0]]),))

    def _unlink(self, args: tuple[Any, ...], _: None) -> None:
        self._enter(args[0], ((args[0], None),))

    def _enter(self, path: str, changes: tuple[tuple[str, Any], ...]) -> None:
        for name, inode in changes:
            if isinstance(inode, Inode):
                self.names[name] = inode
            elif inode is None:
                self.names.pop(name, None)
        self.entries.append(((changes, str(PurePosixPath(path).parent)), False))

    def states(self, most: int) -> Iterator[Tree]:
        """Every subset of what is not durable, at most 2^most of them: the latest changes vary.

        Where more than `most` changes are open, older ones are taken as done: a state of a disk
        that lost them is one of an earlier point.
        """
        open_entries = [index for index, (_, safe) in enumerate(self.entries) if not safe]
        torn = [i for i in self.open.values() if isinstance(i, Inode) and i.durable < len(i.pieces)]
        varying = open_entries[-most:]
        for kept in itertools.product((True, False), repeat=len(varying)):
            gone = {index for index, keep in zip(varying, kept, strict=True) if not keep}
            for share in (1.0, 0.5, 0.0) if torn else (1.0,):
                yield self._tree(gone, share)

    def _tree(self, gone: set[int], share: float) -> Tree:
        standing: dict[str, Inode | str] = {}
        for index, ((changes, _), _) in enumerate(self.entries):
            if index in gone:
                continue
            for name, inode in changes:
                if inode is None:
                    standing.pop(name, None)
                else:
                    standing[name] = inode
        return _rooted(standing, share)


def _rooted(standing: Mapping[str, "Inode | str"], share: float) -> Tree:
    """Leaves out what lies in folders that were lost themselves."""
    folders = {name for name, inode in standing.items() if inode == FOLDER}
    first = min(folders, key=len, default=None)
    tree: Tree = {}
    for name in sorted(standing, key=len):
        parent = str(PurePosixPath(name).parent)
        if name != first and tree.get(parent, b"") is not None:
            continue
        inode = standing[name]
        tree[name] = None if isinstance(inode, str) else _content(inode, share)
    return tree


def _content(inode: Inode, share: float) -> bytes:
    safe = b"".join(inode.pieces[: inode.durable])
    rest = b"".join(inode.pieces[inode.durable :])
    return safe + rest[: int(len(rest) * share)]
