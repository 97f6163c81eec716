"""The files of a corpus: found by path, folder or glob on any fsspec filesystem, read in order.

Every reader gives rows one at a time and holds no more than a line, or a small batch of a Parquet
row group, so memory does not grow with the corpus.
"""

import difflib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

import pyarrow as pa

from schemas.errors import CorpusError, TemporaryError
from stage1_teacher.corpus_json import read_jsonl
from stage1_teacher.corpus_parquet import read_parquet
from stage1_teacher.corpus_text import read_text
from stage1_teacher.raw_rows import RawRow

Reader = Callable[[IO[bytes], str, frozenset[str]], Iterator[RawRow]]
Opener = Callable[[IO[bytes]], IO[bytes]]


def _zstd(file: IO[bytes]) -> IO[bytes]:
    return _unpack(file, "zstd")


def _gzip(file: IO[bytes]) -> IO[bytes]:
    return _unpack(file, "gzip")


def _unpack(file: IO[bytes], method: str) -> IO[bytes]:
    """Arrow's unpacker: it reads several frames, and refuses a stream that was cut short."""
    packed = pa.PythonFile(file, mode="r")
    return io.BufferedReader(pa.CompressedInputStream(packed, method), 1 << 20)


def _plain(file: IO[bytes]) -> IO[bytes]:
    return file


ENDINGS: Mapping[str, tuple[Opener, Reader]] = {
    ".jsonl": (_plain, read_jsonl),
    ".jsonl.zst": (_zstd, read_jsonl),
    ".jsonl.gz": (_gzip, read_jsonl),
    ".parquet": (_plain, read_parquet),
    ".txt": (_plain, read_text),
}
"""What a file's name may end in, how it is unpacked and how it is read."""

_KNOWN = ", ".join(ENDINGS)
_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFiles:
    """Files that are read one after the other, in the order of their names."""

    filesystem: Any
    paths: Sequence[str]

    def read(self, wanted: frozenset[str]) -> Iterator[RawRow]:
        """Rows of all files; only the `wanted` columns of a row need to be there.

        Raises:
            CorpusError: a file cannot be read; its name and the line are in the text.
        """
        for path in self.paths:
            opener, reader = ENDINGS[ending(path)]
            with _explained(path), self.filesystem.open(path, "rb") as file:
                yield from reader(opener(file), path, wanted)


def find_files(location: str) -> CorpusFiles | None:
    """The files at a path, in a folder or matching a glob; None when nothing is there.

    A folder gives all files below it whose names end as `ENDINGS` says, hidden ones (a leading dot
    or underscore) left out. A glob and a path must name nothing else.

    Raises:
        CorpusError: a file of another kind, an empty folder, or a filesystem that is not known.
    """
    filesystem, root = _filesystem(location)
    with _explained(location):
        if filesystem.isfile(root):
            return CorpusFiles(filesystem=filesystem, paths=_known([root]))
        if filesystem.isdir(root):
            found = [p for p in sorted(filesystem.find(root)) if not _hidden(p, root)]
            return CorpusFiles(filesystem=filesystem, paths=_of_folder(found, location))
        matching = sorted(filesystem.glob(root)) if _MAGIC & set(root) else []
        files = [path for path in matching if filesystem.isfile(path)]
        return CorpusFiles(filesystem=filesystem, paths=_known(files)) if files else None


def folder_file(location: str, name: str) -> str | None:
    """The text of a file that lies in the folder `location`; None where there is none.

    Raises:
        CorpusError: it cannot be read, or is of a filesystem that is not known.
    """
    filesystem, root = _filesystem(location)
    path = f"{root.rstrip('/')}/{name}"
    with _explained(path):
        if not filesystem.isdir(root) or not filesystem.isfile(path):
            return None
        data: bytes = filesystem.cat_file(path)
    return data.decode("utf-8", "replace")


def ending(path: str) -> str:
    """The entry of `ENDINGS` that a file's name ends in, or an empty string."""
    name = path.lower()
    return max((known for known in ENDINGS if name.endswith(known)), key=len, default="")


def nearest_path(location: str) -> str:
    """What to do about a path that is not there: the neighbour that was probably meant."""
    filesystem, root = _filesystem(location)
    parent = str(PurePosixPath(root).parent)
    try:
        neighbours = [PurePosixPath(str(path)).name for path in filesystem.ls(parent, detail=False)]
    except (OSError, ValueError):
        neighbours = []
    close = difflib.get_close_matches(PurePosixPath(root).name, neighbours, n=1)
    if close:
        return f"Did you mean {PurePosixPath(location).parent / close[0]}?"
    return f"Give a file ({_KNOWN}), a folder or a glob of them, or a dataset's name on the hub."


def _filesystem(location: str) -> tuple[Any, str]:
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise CorpusError(
            f"the corpus {location} is on a filesystem that cannot be used here: {error} "
            "Install what it names, or copy the corpus to a local folder."
        ) from error
    return filesystem, str(path)


def _hidden(path: str, root: str) -> bool:
    return any(part[0] in "._" for part in PurePosixPath(path).relative_to(root).parts)


def _known(paths: Sequence[str]) -> Sequence[str]:
    unknown = [path for path in paths if not ending(path)]
    if unknown:
        raise CorpusError(
            f"the corpus file {unknown[0]} is of no kind that can be read. "
            f"Its name must end in one of: {_KNOWN}."
        )
    return paths


def _of_folder(paths: Sequence[str], location: str) -> Sequence[str]:
    known = [path for path in paths if ending(path)]
    if not known:
        names = ", ".join(PurePosixPath(path).name for path in paths[:5]) or "no files"
        raise CorpusError(
            f"the folder {location} holds no corpus: found {names}. "
            f"The names of its files must end in one of: {_KNOWN}."
        )
    return known


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turns what filesystems and unpackers raise into errors that name the file."""
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        raise TemporaryError(
            f"the corpus at {path} cannot be reached now: {error}. Try again later."
        ) from error
    except OSError as error:
        if error.errno is None:
            raise CorpusError(
                f"the corpus file {path} is damaged or not what its name says: {error}. "
                "Make it again, or fetch it again."
            ) from error
        raise CorpusError(
            f"the corpus at {path} cannot be read: {error.strerror}. "
            "Check the path and its permissions."
        ) from error
