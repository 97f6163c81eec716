"""Finding a dump at a path or an fsspec URL, or what is there instead."""

import difflib
import re
import stat
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from schemas import layout
from schemas.errors import DamagedError, FormatError, InputError, TemporaryError
from schemas.plan import Plan
from schemas.store_failures import store_failures
from schemas.strict_json import LARGEST, parse_model

_MAGIC = re.compile(r"[*?\[]")
_SHOWN = 3


def expand(pattern: str) -> list[str]:
    """The folders that a pattern with `*`, `?` or `[` matches, or the one that it names.

    Raises:
        InputError: none matches.
    """
    if not _MAGIC.search(pattern):
        return [pattern]
    filesystem, path = locate(pattern)
    with store_failures(pattern):
        matches = _folders(filesystem, path)
    if not matches:
        raise InputError(f"no folder matches {pattern!r}. Check the pattern, and quote it.")
    local = isinstance(filesystem, LocalFileSystem)
    return [match if local else str(filesystem.unstrip_protocol(match)) for match in matches]


def _folders(filesystem: Any, pattern: str) -> list[str]:
    """What matches; as in a shell, a name that begins with a dot does so only when asked for."""
    hidden = pattern.rpartition("/")[2].startswith(".")
    try:
        found = [str(match) for match in filesystem.glob(pattern) if filesystem.isdir(match)]
    except FileNotFoundError:  # there is not even the bucket
        return []
    return sorted(m for m in found if hidden or not m.rpartition("/")[2].startswith("."))


def locate(url: str, **options: Any) -> tuple[Any, str]:
    """The fsspec filesystem of a URL, made with `options`, and the path on it.

    Raises:
        InputError: no such kind of URL can be read here.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise InputError(f"{url} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise InputError(f"{url} is no path and no URL that can be read here: {error}") from error
    return filesystem, str(path)


def read_small(filesystem: Any, path: str) -> bytes | None:
    """A small file's content; None when there is none.

    Raises:
        DamagedError: a symbolic link, or larger than is read.
        InputError: no permission, or no credentials.
        TemporaryError: the store failed.
    """
    try:
        if isinstance(filesystem, LocalFileSystem):
            _check_regular(Path(path))
        with store_failures(path):
            size = filesystem.size(path)
            if size is not None and size > LARGEST:
                raise DamagedError(f"{path} has {size:,} bytes; at most {LARGEST:,} are read.")
            content: bytes = filesystem.cat_file(path)
            return content
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError as error:
        raise FormatError(f"{path} is a folder where a dump has a file.") from error
    except PermissionError as error:
        raise InputError(f"{path} may not be read: {error.strerror or error}.") from error
    except OSError as error:
        raise TemporaryError(f"{path} could not be read: {error}. Try again later.") from error


def _check_regular(path: Path) -> None:
    """Refuses links, which could lead anywhere, and pipes, which could keep us waiting for ever."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise DamagedError(f"{path} is a symbolic link; these are not followed inside a dump.")
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DamagedError(f"{path} is no regular file; take a fresh copy of the dump.")


def newest_ledger(filesystem: Any, path: str) -> bytes | None:
    """The highest ledger version of a dump that is still growing; None when there is none."""
    try:
        found = filesystem.ls(f"{path.rstrip('/')}/{layout.LEDGER}", detail=False)
    except FileNotFoundError:
        return None
    names = [str(name).rpartition("/")[2] for name in found]
    versions = [int(match["version"]) for n in names if (match := layout.LEDGER_NAME.match(n))]
    if not versions:
        return None
    return read_small(filesystem, f"{path.rstrip('/')}/{layout.ledger_path(max(versions))}")


def nothing_complete(filesystem: Any, path: str, url: str) -> InputError:
    """The error that says what is there instead of a complete dump, and what to do."""
    if not filesystem.exists(path):
        return InputError(f"there is nothing at {url}.{_nearest(filesystem, path)}")
    if not filesystem.isdir(path):
        return FormatError(f"{url} is a file; a dump is a folder with a {layout.MANIFEST}.")
    plan = read_small(filesystem, f"{path.rstrip('/')}/{layout.PLAN}")
    if plan is None:
        names = [str(n).rstrip("/").rpartition("/")[2] for n in filesystem.ls(path, detail=False)]
        held = ", ".join(sorted(names)[:_SHOWN]) or "nothing"
        return FormatError(
            f"{url} is no dump: it has no {layout.MANIFEST}; found {held}. Give the folder that "
            "`potstill dump --out` wrote."
        )
    units = len(parse_model(Plan, plan, f"{url}/{layout.PLAN}").units)
    done = len(filesystem.glob(f"{path.rstrip('/')}/{layout.COMMITS}/*/[0-9]*.json"))
    return FormatError(
        f"{url} is an unfinished dump: {done} of {units} units are done. Run the same "
        f"`potstill dump … --out {url}` again: it continues where it stopped."
    )


def _nearest(filesystem: Any, path: str) -> str:
    parent, _, name = path.rstrip("/").rpartition("/")
    try:
        names = [str(n).rstrip("/").rpartition("/")[2] for n in filesystem.ls(parent, detail=False)]
    except (OSError, ValueError):
        return " Check the path."
    close = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {parent}/{close[0]}?" if close else " Check the path."
