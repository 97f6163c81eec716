"""A new dump's folder: it has its name only when it is whole."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ConflictError, InputError
from schemas.storage import explained
from schemas.storage_posix import TEMPORARY


@contextmanager
def new_folder(out: str) -> Iterator[Path]:
    """A folder beside `out`, which takes its name when the block succeeds and vanishes otherwise.

    A process that is killed leaves `.<name>.<random>.tmp`, which nothing reads.

    Raises:
        ConflictError: there is something at `out`.
        InputError: it is no local path, may not be written, or the disk is full.
    """
    target = check_free(out)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{TEMPORARY}")
    with explained(out):
        temporary.mkdir(parents=True)
    try:
        yield temporary
        with explained(out):
            temporary.rename(target)
            _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(out: str) -> Path:
    """The absolute path of a folder that does not exist, or is empty.

    Raises:
        ConflictError: there is something.
        InputError: it is no local path.
    """
    if "://" in out:
        raise InputError(
            f"--out {out} is no local folder. Make the dump in one, then "
            f"`potstill dataset push FOLDER --to {out}`."
        )
    target = Path(os.path.abspath(out))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ConflictError(
            f"{out} exists and is not empty; nothing is overwritten. Choose another --out, or "
            "remove it."
        )
    return target


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
