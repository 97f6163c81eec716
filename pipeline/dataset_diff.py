"""Two dumps beside each other: settings, rows, and what their teachers say where rows are the same.

Shapes: N rows of a dump, P captured positions that both have.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.dataset_comparison import Comparison, TeacherSums
from pipeline.dataset_row_hashes import Place, RowHashes, row_hashes, token_hashes
from pipeline.dataset_rows import light_groups
from pipeline.dataset_settings import DiffSettings
from schemas import layout
from schemas.differences import differences
from schemas.dump_folder import DumpFolder, open_dump
from schemas.errors import InputError
from schemas.manifest import settings_of
from schemas.progress import Progress, Report, ignore
from schemas.value_ranges import check_values

Ints = npt.NDArray[np.int64]

COLUMNS = [
    *("id", "input_ids", "captured", "topk_ids", "topk_logits", "tail_ids", "tail_logits"),
    *("tail_logmass", "token_logprobs"),
]
_HELD_GROUPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What is different between dump a and dump b.

    Attributes:
        a: the first dump.
        b: the second one.
        settings: lines of differing settings, a's value "here" and b's "there".
        only_a: rows whose id b does not have.
        only_b: rows whose id a does not have.
        other_tokens: rows with the same id and other tokens.
        same_rows: rows with the same id and tokens.
        teachers: how the teachers compare over these; None without such rows or one tokenizer.
    """

    a: str
    b: str
    settings: tuple[str, ...]
    only_a: int
    only_b: int
    other_tokens: int
    same_rows: int
    teachers: Comparison | None

    @property
    def same(self) -> bool:
        """Whether nothing differs but shards and the way in which the dumps were made."""
        rows = self.only_a + self.only_b + self.other_tokens
        return not (self.settings or rows) and (self.teachers is None or self.teachers.same)


def diff(settings: DiffSettings, report: Report = ignore) -> Difference:
    """Compares two dumps; rows are matched by id, wherever they stand.

    Raises:
        InputError: not two dumps.
        DamagedError: a shard is bad.
    """
    if len(settings.dumps) != 2:
        raise InputError(
            f"a diff compares two dumps; found {len(settings.dumps)}: {', '.join(settings.dumps)}. "
            "Name two, one after the other: potstill dataset diff A B."
        )
    a, b = (open_dump(url) for url in settings.dumps)
    hashes_a, hashes_b = row_hashes(a, report), row_hashes(b, report)
    order = np.argsort(hashes_b.ids)
    at = np.searchsorted(hashes_b.ids, hashes_a.ids, sorter=order)
    at = order[np.minimum(at, max(0, len(order) - 1))] if len(order) else at * 0 - 1
    found = np.zeros(len(at), np.bool_)
    if len(order):
        found = hashes_b.ids[at] == hashes_a.ids
    tokens_a, tokens_b = token_hashes(a, report), token_hashes(b, report)
    same = found.copy()
    same[found] = tokens_b[at[found]] == tokens_a[found]
    twins = np.where(same, at, -1)
    comparable = a.manifest.tokenizer.fingerprint == b.manifest.tokenizer.fingerprint
    return Difference(
        a=a.url,
        b=b.url,
        settings=tuple(_settings(a, b)),
        only_a=int((~found).sum()),
        only_b=len(hashes_b.ids) - int(found.sum()),
        other_tokens=int((found & ~same).sum()),
        same_rows=int(same.sum()),
        teachers=_compare(a, b, hashes_b, twins, report) if comparable and same.any() else None,
    )


def _settings(a: DumpFolder, b: DumpFolder) -> list[str]:
    here, there = (
        settings_of(dump.manifest).model_copy(update={"derived": None}) for dump in (a, b)
    )
    return differences(here, there)


def _compare(
    a: DumpFolder, b: DumpFolder, hashes_b: RowHashes, twins: Ints, report: Report
) -> Comparison:
    """Streams a; of b the row groups that hold the twins, a few of which are kept."""
    sums, groups, start = TeacherSums(), _Groups(b), 0
    for _, _, table in light_groups(a, COLUMNS):
        own = twins[start : start + table.num_rows]
        start += table.num_rows
        rows = np.flatnonzero(own >= 0)
        for place, here, there in _by_group(hashes_b, rows, own):
            sums.add(table.take(here), groups.read(place).take(there))
        report(Progress(stage="compare", done=start, total=len(twins), unit="rows"))
    return sums.result()


def _by_group(hashes: RowHashes, rows: Ints, twins: Ints) -> Iterator[tuple[Place, Ints, Ints]]:
    """The rows of a whose twins lie in one row group of b, group by group."""
    starts = np.asarray([place.start for place in hashes.places])
    which = np.searchsorted(starts, twins[rows], "right") - 1
    for number in np.unique(which):
        here = rows[which == number]
        place = hashes.places[int(number)]
        yield place, here, twins[here] - place.start


class _Groups:
    """Row groups of a dump, the last few of them held."""

    def __init__(self, dump: DumpFolder) -> None:
        self._dump = dump
        self._held: OrderedDict[int, pa.Table] = OrderedDict()

    def read(self, place: Place) -> pa.Table:
        table = self._held.get(place.start)
        if table is None:
            name = f"{layout.DATA}/{place.shard.name}"
            file = self._dump.shard_file(place.shard)
            with self._dump.reading(name):
                table = file.read_row_group(place.group, columns=COLUMNS)
            check_values(table, self._dump.manifest, f"{name} in {self._dump.url}")
            self._held[place.start] = table
            if len(self._held) > _HELD_GROUPS:
                self._held.popitem(last=False)
        return table
