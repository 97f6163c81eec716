"""Everything that can be proved about one shard."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from schemas import layout
from schemas.dump_folder import DumpFolder
from schemas.errors import DamagedError, TemporaryError
from schemas.hidden_states import first_state_problem
from schemas.manifest import Shard
from schemas.row_group import list_column, nested_column
from schemas.shard_reading import ShardFault, regular_size
from schemas.shard_sums import ShardSums
from schemas.store_failures import store_failures
from schemas.value_ranges import first_problem

_BLOCK = 1 << 20
_RELATIVE = 1e-6

Tick = Callable[[int], None]
"""Told how many bytes were hashed since the last call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: where, what was found, what to do, ending with the command.

    `unit` is that of the shard that is bad; None where it is something else.
    """

    where: str
    problem: str
    cure: str
    unit: int | None = None


def fresh(dump: DumpFolder) -> str:
    """How a bad file becomes a good one."""
    if not isinstance(dump.filesystem, LocalFileSystem):
        return (
            "remove that file, and copy it from where it is whole: potstill dataset push COPY --to "
            f"{dump.url}"
        )
    if dump.filesystem.exists(dump.join(layout.PLAN)):
        return (
            "take a fresh copy of that file, or, as the dump was made here, let what is bad be "
            f"made again: potstill verify {dump.url} --repair"
        )
    return f"take a fresh copy of that file: potstill dataset pull SOURCE --out {dump.url}"


@dataclass(slots=True, kw_only=True)
class ShardVerdict:
    """What was found in one shard.

    Attributes:
        findings: what is wrong.
        sums: over its row groups; None when it could not be read to its end.
        ids: [R] a 64-bit hash of every sample id.
    """

    findings: list[Finding] = field(default_factory=list)
    sums: ShardSums | None = None
    ids: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))


def verify_shard(dump: DumpFolder, shard: Shard, tick: Tick) -> ShardVerdict:
    """Checks a shard and its hidden states; a shard whose hash is wrong is not looked into.

    Raises:
        TemporaryError: the store failed.
    """
    verdict = ShardVerdict()
    data, hidden = f"{layout.DATA}/{shard.name}", f"{layout.HIDDEN}/{shard.name}"
    verdict.findings += _hash_findings(dump, shard, data, tick)
    if shard.hidden_sha256 is not None:
        verdict.findings += _hash_findings(dump, shard, hidden, tick)
    elif dump.manifest.capture.hidden_layers:
        problem = "the manifest has no hash of the shard's hidden states"
        verdict.findings.append(
            Finding(where=hidden, problem=problem, cure=fresh(dump), unit=shard.unit)
        )
    if verdict.findings:
        return verdict
    name = data
    try:
        sums, rows = _read(dump, shard)
        if dump.manifest.capture.hidden_layers:
            name = hidden
            _read_hidden(dump, shard, rows)
    except DamagedError as error:
        problem = str(error.__cause__ or error).rstrip(".")  # without the advice to run verify
        verdict.findings.append(
            Finding(where=name, problem=problem, cure=fresh(dump), unit=shard.unit)
        )
        return verdict
    verdict.sums = sums
    verdict.ids = np.asarray([_hash(name) for name, _ in rows], np.uint64)
    verdict.findings += _statistics_findings(dump, shard, sums)
    verdict.findings += [
        Finding(
            where=data,
            problem=problem,
            cure="dump again and report this with what comes from: potstill doctor --json",
        )
        for problem in sums.alignment.problems()
    ]
    return verdict


def _hash_findings(dump: DumpFolder, shard: Shard, name: str, tick: Tick) -> Iterator[Finding]:
    hidden = name.startswith(f"{layout.HIDDEN}/")
    expected = shard.hidden_sha256 if hidden else shard.sha256
    try:
        if isinstance(dump.filesystem, LocalFileSystem):
            regular_size(dump.join(name))  # a pipe or a device would keep us for ever
        with store_failures(f"{name} in {dump.url}"):
            found = _sha256(dump.filesystem, dump.join(name), tick)
    except FileNotFoundError:
        yield Finding(where=name, problem="the file is missing", cure=fresh(dump), unit=shard.unit)
        return
    except ShardFault as error:
        yield Finding(where=name, problem=str(error), cure=fresh(dump), unit=shard.unit)
        return
    except OSError as error:
        raise TemporaryError(f"{name} could not be read: {error}. Try again later.") from error
    if found != expected:
        problem = f"its content was altered or cut short: {found}, expected {expected}"
        yield Finding(where=name, problem=problem, cure=fresh(dump), unit=shard.unit)


def _sha256(filesystem: Any, path: str, tick: Tick) -> str:
    total = hashlib.sha256()
    with filesystem.open(path, "rb") as source:
        while block := source.read(_BLOCK):
            total.update(block)
            tick(len(block))
    return "sha256:" + total.hexdigest()


def _read(dump: DumpFolder, shard: Shard) -> tuple[ShardSums, list[tuple[str, int]]]:
    """The sums, and id and length of every row."""
    sums = ShardSums()
    rows: list[tuple[str, int]] = []
    file = dump.shard_file(shard)
    for index in range(file.num_row_groups):
        with dump.reading(f"{layout.DATA}/{shard.name}"):
            table = file.read_row_group(index)
        problem = first_problem(table, dump.manifest)
        if problem:
            raise DamagedError(f"row group {index}: {problem}")
        _check_distinct(table, index)
        sums.add(table)
        lengths = np.diff(list_column(table, "input_ids").offsets).tolist()
        rows += zip(table["id"].to_pylist(), lengths, strict=True)
    return sums, rows


def _check_distinct(table: pa.Table, index: int) -> None:
    """No id twice among a position's kept entries, and none of them in its tail sample."""
    kept, drawn = nested_column(table, "topk_ids"), nested_column(table, "tail_ids")
    keys = [
        (np.repeat(np.arange(len(c.inner) - 1), np.diff(c.inner)) << 32) | c.values
        for c in (kept, drawn)
    ]
    if len(np.unique(keys[0])) < len(keys[0]):
        raise DamagedError(f"row group {index}: a position keeps the same id twice")
    if np.isin(keys[1], keys[0]).any():
        raise DamagedError(f"row group {index}: a tail draw is among the kept entries")


def _read_hidden(dump: DumpFolder, shard: Shard, rows: list[tuple[str, int]]) -> None:
    """Row groups, ids and lengths are those of the tokens; every number is one."""
    file, start, capture = dump.hidden_file(shard), 0, dump.manifest.capture
    if _group_sizes(file) != _group_sizes(dump.shard_file(shard)):
        raise DamagedError("its row groups are not those of the shard in data/")
    for index in range(file.num_row_groups):
        with dump.reading(f"{layout.HIDDEN}/{shard.name}"):
            table = file.read_row_group(index)
        expected = rows[start : start + table.num_rows]
        start += table.num_rows
        problem = first_state_problem(table, capture) or _other_rows(table, expected)
        if problem:
            raise DamagedError(f"row group {index}: {problem}")


def _group_sizes(file: pq.ParquetFile) -> list[int]:
    return [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]


def _other_rows(table: pa.Table, expected: list[tuple[str, int]]) -> str | None:
    ids = table["id"].to_pylist()
    for name in table.column_names:
        if name.startswith("hidden_") and not name.endswith("_channels"):
            lengths = table[name].combine_chunks().value_lengths().to_pylist()
            if [*zip(ids, lengths, strict=True)] != expected:
                return f"ids or lengths of {name} are not those of the tokens"
    return None


def _statistics_findings(dump: DumpFolder, shard: Shard, sums: ShardSums) -> Iterator[Finding]:
    found = sums.counts(skipped=shard.skipped, truncated=shard.truncated)
    for name in ("rows", "tokens", "positions"):
        yield from _differing(dump, shard, name, getattr(shard, name), getattr(found, name))
    for name in ("kept", "drawn", "tail_mass", "negative_logprob"):
        there, here = getattr(shard.statistics, name), getattr(found.statistics, name)
        yield from _differing(dump, shard, name, there, here)
    there, here = shard.statistics.alignment.positions, found.statistics.alignment.positions
    yield from _differing(dump, shard, "aligned positions", there, here)
    if shard.generation is not None:
        yield from _differing(dump, shard, "responses kept", shard.generation.kept, found.rows)


def _differing(
    dump: DumpFolder, shard: Shard, name: str, there: float, here: float
) -> Iterator[Finding]:
    if not math.isclose(there, here, rel_tol=_RELATIVE, abs_tol=_RELATIVE):
        yield Finding(
            where=f"{layout.DATA}/{shard.name}",
            problem=f"the manifest says {name} {there:g}; found {here:g}",
            cure=fresh(dump),
            unit=shard.unit,
        )


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
