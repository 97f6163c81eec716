"""The corpus: what stage one reads, row by row, from files or from the hub."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from schemas.errors import CorpusError
from schemas.progress import Progress, Report, ignore
from stage1_teacher.corpus_files import CorpusFiles, ending, find_files, nearest_path
from stage1_teacher.corpus_hub import is_hub_name, read_hub
from stage1_teacher.corpus_rows import Columns, CorpusRow, corpus_row, unusable_row
from stage1_teacher.raw_rows import RawRow

_SECONDS_PER_REPORT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A corpus that was found; nothing of it has been read yet.

    Attributes:
        name: for manifest and card: the file's or folder's name without endings, or the hub name.
        files: its files, or None for a dataset on the hub.
        columns: which columns mean what.
        subset: configuration of a hub dataset.
        split: split of a hub dataset.
        limit: read only so many rows.
        change: what is done to every row as soon as it is read, such as hashing its id.
        tolerant: a row that cannot be used is given with its problem, instead of ending all.
    """

    name: str
    files: CorpusFiles | None
    columns: Columns
    subset: str | None = None
    split: str = "train"
    limit: int | None = None
    tolerant: bool = False
    change: Callable[[CorpusRow], CorpusRow] | None = None

    def rows(self) -> Iterator[CorpusRow]:
        """Reads from the first row on, one row in memory at a time.

        Raises:
            CorpusError: a row or a file is wrong; file and line are in the text.
        """
        for row, _ in self.pairs():
            yield row

    def pairs(self) -> Iterator[tuple[CorpusRow, RawRow]]:
        """The same rows, each with what its file holds."""
        for index, raw in enumerate(islice(self._raw(), self.limit)):
            yield self._row(raw, index), raw

    def _row(self, raw: RawRow, index: int) -> CorpusRow:
        try:
            row = corpus_row(raw, index, self.columns, self.name)
            return row if self.change is None else self.change(row)
        except CorpusError as error:
            if not self.tolerant:
                raise
            return unusable_row(raw, index, self.name, str(error))

    def _raw(self) -> Iterator[RawRow]:
        if self.files is not None:
            return self.files.read(self.columns.wanted)
        return read_hub(self.name, self.subset, self.split, self.columns.wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusCount:
    """What a pass over a corpus found.

    Attributes:
        rows: how many there are.
        fingerprint: `sha256:<hex>` over the digests of all rows in order.
        kinds: rows by kind, of those that can be used.
        unusable: how many cannot.
        problem: of the first of these.
    """

    rows: int
    fingerprint: str
    kinds: Mapping[str, int]
    unusable: int = 0
    problem: str = ""


def open_corpus(
    location: str,
    columns: Columns,
    *,
    subset: str | None = None,
    split: str = "train",
    limit: int | None = None,
    tolerant: bool = False,
) -> Corpus:
    """Finds a corpus: a path, folder or glob on any filesystem, else a dataset's name on the hub.

    Raises:
        CorpusError: there is nothing of that name, or it is of no kind that can be read.
    """
    files = find_files(location)
    if files is None and not _may_be_on_hub(location):
        raise CorpusError(f"no corpus at {location}. {nearest_path(location)}")
    return Corpus(
        name=location if files is None else _name(location),
        files=files,
        columns=columns,
        subset=subset,
        split=split,
        limit=limit,
        tolerant=tolerant,
    )


def count_corpus(corpus: Corpus, report: Report = ignore) -> CorpusCount:
    """Reads a corpus once, checking every row.

    Raises:
        CorpusError: it has no rows, or one of them is wrong.
    """
    total = hashlib.sha256()
    kinds: Counter[str] = Counter()
    unusable, problem = 0, ""
    reported = time.monotonic()
    for row in corpus.rows():
        total.update(row.digest)
        if row.problem:
            unusable, problem = unusable + 1, problem or row.problem
        else:
            kinds[row.kind] += 1
        if time.monotonic() - reported > _SECONDS_PER_REPORT:
            reported = time.monotonic()
            report(Progress(stage="count corpus", done=row.index + 1, unit="rows"))
    rows = kinds.total() + unusable
    if not rows:
        raise CorpusError(f"the corpus {corpus.name} is empty: it has no rows. Give another one.")
    report(Progress(stage="count corpus", done=rows, total=rows, unit="rows"))
    return CorpusCount(
        rows=rows,
        fingerprint=f"sha256:{total.hexdigest()}",
        kinds=dict(kinds),
        unusable=unusable,
        problem=problem,
    )


def _may_be_on_hub(location: str) -> bool:
    """A path's look, or a parent folder that exists here, speaks against the hub."""
    parent = PurePosixPath(location).parent
    here = str(parent) != "." and Path(parent).is_dir()
    return is_hub_name(location) and not ending(location) and not here


def _name(location: str) -> str:
    """`texts` for data/texts.jsonl.zst, data/texts/ and data/texts/*.txt."""
    parts = [p for p in PurePosixPath(location).parts if not set(p) & set("*?[")]
    name = PurePosixPath(parts[-1]).name if parts else location
    return name[: len(name) - len(ending(name))] or name
