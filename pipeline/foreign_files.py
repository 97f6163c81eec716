"""The files of somebody else's dump: Parquet or JSON lines, a file or a folder of them."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DamagedError, InputError

_ENDINGS = (".parquet", ".jsonl", ".jsonl.zst", ".jsonl.gz", ".tar", ".yaml")
_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFiles:
    """Files on any fsspec filesystem, in the order of their names."""

    url: str
    filesystem: Any
    paths: Sequence[str]

    def of(self, *endings: str) -> list[str]:
        """Paths that end in one of these."""
        return [path for path in self.paths if path.endswith(endings)]

    def rows(self) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
        """Name of the file without its ending, number of the row in it, and its values.

        Raises:
            DamagedError: a file cannot be read.
        """
        for path in self.of(".parquet", ".jsonl", ".jsonl.zst", ".jsonl.gz"):
            name = PurePosixPath(path).name.split(".")[0]
            try:
                for index, values in enumerate(self._of_file(path)):
                    yield name, index, values
            except (pa.ArrowException, OSError, ValueError, KeyError) as error:
                raise DamagedError(f"{path} cannot be read: {error}. Fetch it again.") from error

    def columns(self) -> list[str]:
        """The columns of the first row; none without rows."""
        return next((list(values) for _, _, values in self.rows()), [])

    def read(self, path: str) -> bytes:
        """The content of one of the files."""
        data: bytes = self.filesystem.cat_file(path)
        return data

    def _of_file(self, path: str) -> Iterator[Mapping[str, Any]]:
        with self.filesystem.open(path, "rb") as source:
            if path.endswith(".parquet"):
                file = pq.ParquetFile(source)
                for batch in file.iter_batches(batch_size=_BATCH):
                    yield from batch.to_pylist()
                return
            packed = {".zst": "zstd", ".gz": "gzip"}.get(path[path.rindex(".") :])
            lines: Any = source
            if packed:
                stream = pa.CompressedInputStream(pa.PythonFile(source, mode="r"), packed)
                lines = io.BufferedReader(stream)
            yield from (json.loads(line) for line in lines if line.strip())


def find_foreign(url: str) -> ForeignFiles:
    """The files at a path, or in a folder and below.

    Raises:
        InputError: there is nothing.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url} is no path and no URL that can be read here: {error}") from error
    if filesystem.isfile(path):
        return ForeignFiles(url=url, filesystem=filesystem, paths=[path])
    found = sorted(filesystem.find(path)) if filesystem.isdir(path) else []
    known = [name for name in found if name.endswith(_ENDINGS)]
    if not known:
        there = ", ".join(PurePosixPath(name).name for name in found[:5]) or "nothing"
        raise InputError(
            f"{url} holds no dump that can be imported: found {there}. Looked for files that end "
            f"in {', '.join(_ENDINGS[:-1])}."
        )
    return ForeignFiles(url=url, filesystem=filesystem, paths=known)
