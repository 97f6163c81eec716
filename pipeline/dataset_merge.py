"""One dump of several: each sample once, and of every row the dump that it was made in."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.dataset_agreement import check_mergeable
from pipeline.dataset_derived import derived_settings, sources_of, without_hidden
from pipeline.dataset_folder import check_free
from pipeline.dataset_making import Made, Making, make_dump
from pipeline.dataset_row_hashes import RowHashes, row_hashes, token_hashes
from pipeline.dataset_rows import Bools, Masks, Rows, Wanted, read_rows, row_ids
from pipeline.dataset_settings import MergeSettings
from schemas.columns import COLUMNS, TEXTS, shard_columns
from schemas.dump_folder import DumpFolder, open_dumps
from schemas.errors import MismatchError
from schemas.manifest import Settings
from schemas.progress import Report, ignore

Ints = npt.NDArray[np.int64]

_SHOWN = 3


def merge(settings: MergeSettings, report: Report = ignore) -> Made:
    """Merges dumps: the rows of the first one, then what the second one adds, and so on.

    All ids are read before anything is written; where one is repeated, all tokens, too.

    Raises:
        InputError: fewer than two dumps.
        MismatchError: they cannot become one, or an id means different samples.
        ConflictError: there is something at `out`.
        DamagedError: a shard is bad.
    """
    check_free(settings.out)
    dumps = open_dumps(settings.dumps)
    check_mergeable(dumps, settings.hidden)
    hashes = [row_hashes(dump, report) for dump in dumps]
    kept = _first_of_each_id(dumps, hashes, settings.first_wins, report)
    arguments = settings.model_dump(include={"first_wins", "hidden"})
    target = _with_columns(derived_settings(dumps, "merge", arguments), dumps, settings.hidden)
    rows = int(sum(mask.sum() for mask in kept))
    made = make_dump(
        Making(
            out=settings.out,
            operation="merge",
            model=dumps[0],
            shard_mb=settings.shard_size,
            rows=rows,
        ),
        target,
        _rows(dumps, [h.masks(m) for h, m in zip(hashes, kept, strict=True)], target),
        report,
    )
    left_out = sum(len(mask) for mask in kept) - rows
    return replace(
        made, left_out={"in an earlier dump": left_out}, notes=tuple(_notes(dumps, target))
    )


def _rows(dumps: Sequence[DumpFolder], masks: Sequence[Masks], target: Settings) -> Iterator[Rows]:
    capture = target.capture
    for dump, own in zip(dumps, masks, strict=True):
        wanted = Wanted(
            columns=shard_columns(capture.temperatures, capture.optional_columns),
            origin=sources_of(dump.manifest)[0].identity,
            hidden=bool(capture.hidden_layers),
            masks=own,
        )
        yield from read_rows(dump, wanted)


def _first_of_each_id(
    dumps: Sequence[DumpFolder], hashes: Sequence[RowHashes], first_wins: bool, report: Report
) -> list[Bools]:
    """Per dump which rows are kept.

    Raises:
        MismatchError: rows with the same id have different tokens.
    """
    ids = np.concatenate([h.ids for h in hashes])
    ends = np.cumsum([len(h.ids) for h in hashes])
    _, firsts, which = np.unique(ids, return_index=True, return_inverse=True)
    if len(firsts) < len(ids) and not first_wins:
        tokens = np.concatenate([token_hashes(dump, report) for dump in dumps])
        clashes = np.flatnonzero(tokens != tokens[firsts[which]])
        if len(clashes):
            raise _clash(dumps, hashes, clashes, ends)
    kept = np.zeros(len(ids), np.bool_)
    kept[firsts] = True
    return np.split(kept, ends[:-1])


def _clash(
    dumps: Sequence[DumpFolder], hashes: Sequence[RowHashes], clashes: Ints, ends: Ints
) -> MismatchError:
    number = int(np.searchsorted(ends, clashes[0], "right"))
    start = 0 if number == 0 else int(ends[number - 1])
    rows = [int(row) - start for row in clashes[:_SHOWN] if row < ends[number]]
    names = []
    for row in rows:
        place, index = hashes[number].place(row)
        names.append(row_ids(dumps[number], place.shard, place.group)[index])
    return MismatchError(
        f"{len(clashes):,} sample ids mean other samples in an earlier dump, such as "
        f"{', '.join(map(repr, names))} of {dumps[number].url}: same id, different tokens. Give "
        "the corpora ids of their own and dump again, or keep the earlier sample of each with "
        "--first-wins."
    )


def _with_columns(settings: Settings, dumps: Sequence[DumpFolder], hidden: bool) -> Settings:
    """Temperatures and numbers that all dumps hold, texts that any of them holds."""
    policies = [dump.manifest.capture for dump in dumps]
    grids = [set(policy.temperatures) for policy in policies]
    held = [set(policy.optional_columns) for policy in policies]
    names = set.intersection(*held) | (set.union(*held) & set(TEXTS)) | {"origin"}
    capture = settings.capture if hidden else without_hidden(settings.capture)
    changes = {
        "temperatures": sorted(set.intersection(*grids)),
        "optional_columns": [column.name for column in COLUMNS if column.name in names],
    }
    return settings.model_copy(update={"capture": capture.model_copy(update=changes)})


def _notes(dumps: Sequence[DumpFolder], target: Settings) -> Iterator[str]:
    for dump in dumps:
        capture, kept = dump.manifest.capture, target.capture
        temperatures = sorted(set(capture.temperatures) - set(kept.temperatures))
        numbers = sorted(set(capture.optional_columns) - set(kept.optional_columns))
        lost = [f"temperature {t:g}" for t in temperatures] + numbers
        if capture.hidden_layers and not kept.hidden_layers:
            lost.append("hidden states")
        if lost:
            yield f"of {dump.url} are not kept: {', '.join(lost)}"
