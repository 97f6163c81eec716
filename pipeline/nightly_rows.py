"""What is new in a corpus, by content: its rows in a file of their own, their hashes beside it.

The file is what the night's dump reads, tonight and whenever it goes on: the corpus may grow, or be
named anew, meanwhile.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import zstandard

from pipeline.nightly_folder import ROW_HASHES, synced
from schemas.progress import Progress, Report
from stage1_teacher.corpus import Corpus
from stage1_teacher.corpus_rows import CorpusRow
from stage1_teacher.raw_rows import RawRow
from stage1_teacher.row_digests import SeenRows, as_digests

_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRows:
    """What a pass over the corpus found.

    Attributes:
        new: rows written.
        known: rows that a dump has already, or that stand in the corpus twice.
    """

    new: int
    known: int


def write_new_rows(
    corpus: Corpus, seen: SeenRows, folder: Path, most: int | None, report: Report
) -> NewRows:
    """Writes the rows that `seen` has not into `folder`, at most `most` of them.

    Raises:
        CorpusError: a row cannot be used, and none may fail.
    """
    new = known = 0
    with _packed(folder / corpus_file(corpus)) as lines, synced(folder / ROW_HASHES) as hashes:
        for batch in _batches(corpus.pairs()):
            digests = as_digests([row.digest for row, _ in batch])
            fresh = np.flatnonzero(seen.add_new(digests))
            known += len(batch) - len(fresh)
            taken = fresh if most is None else fresh[: most - new]
            new += len(taken)
            lines.write(b"".join(_line(batch[index][1]) for index in taken))
            hashes.write(digests[taken].tobytes())
            report(Progress(stage="look for new rows", done=new + known, unit="rows"))
            if new == most:
                break
    return NewRows(new=new, known=known)


def corpus_file(corpus: Corpus) -> str:
    """The file's name: dumps and their rows are named after the corpus."""
    return f"{corpus.name.replace('/', '--')}.jsonl.zst"


def _line(raw: RawRow) -> bytes:
    """A row as a line of JSON; one that could not be read stays as it is, and fails again."""
    if raw.problem:
        return (raw.values[""] or "null").encode() + b"\n"
    return json.dumps(raw.values, ensure_ascii=False, default=str).encode() + b"\n"


@contextmanager
def _packed(path: Path) -> Iterator[IO[bytes]]:
    """A zstd stream into a file that is durable when the block is left."""
    packer = zstandard.ZstdCompressor()
    with synced(path) as file, packer.stream_writer(file, closefd=False) as stream:
        yield stream


def _batches(
    pairs: Iterable[tuple[CorpusRow, RawRow]],
) -> Iterator[list[tuple[CorpusRow, RawRow]]]:
    rows = iter(pairs)
    while batch := list(islice(rows, _AT_ONCE)):
        yield batch
