"""Where a dump may be written: one class of store per kind of place."""

from pathlib import Path

from schemas.errors import InputError
from schemas.storage import Store
from schemas.storage_object import ObjectStore
from schemas.storage_posix import PosixStore

_LOCAL = "file://"
_READ_ONLY = {
    "hf": "dump into a local folder, then `potstill dataset push`",
    "http": "give a folder, or a bucket such as s3://bucket/dump",
    "https": "give a folder, or a bucket such as s3://bucket/dump",
}


def open_store(path: str | Path) -> Store:
    """The store at a local path, or at any fsspec URL of a bucket.

    Raises:
        InputError: no such kind of URL can be written here.
    """
    text = str(path)
    if is_local(path):
        return PosixStore(text.removeprefix(_LOCAL))
    scheme = text.partition("://")[0]
    if scheme in _READ_ONLY:
        raise InputError(f"no dump is written at {text}: {_READ_ONLY[scheme]}.")
    return ObjectStore(text)


def is_local(path: str | Path) -> bool:
    """Whether a path is one of this machine's folders."""
    return "://" not in str(path) or str(path).startswith(_LOCAL)
