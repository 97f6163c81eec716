"""Proves a dump whole and aligned, without a teacher.

Reads every shard once for its hash and once, row group by row group, for everything else; memory is
bounded by a row group plus 8 bytes a row, by which ids are known to be unique.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import numpy.typing as npt

from schemas import layout
from schemas.alignment import merged_alignment
from schemas.dump_folder import DumpFolder, open_dump
from schemas.errors import DamagedError, ModelError
from schemas.manifest import Alignment, Shard
from schemas.progress import Progress, Report, ignore
from schemas.projection import read_projection
from schemas.tokenizer_fingerprint import FILE, tokenizer_fingerprint
from schemas.verify_shard import Finding, ShardVerdict, Tick, fresh, verify_shard

__all__ = ["Finding", "Share", "Verification", "verify"]

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The outcome of `verify`; figures are of what was read, not of what the manifest says.

    Attributes:
        url: the dump.
        identity: its manifest's.
        shards: shards that were read to their end.
        rows: their sequences.
        tokens: their tokens.
        positions: their captured positions.
        bytes: their files' size.
        alignment: the self-test over all of them.
        findings: what is wrong, each with what to do.
        notes: what is odd but harmless.
        of_shards: shards that the dump has; more than were asked for where a share was verified.
    """

    url: str
    identity: str
    shards: int
    rows: int
    tokens: int
    positions: int
    bytes: int
    alignment: Alignment
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    of_shards: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The part-th of so many parts of the shards, counted from 1: those of every n-th unit."""

    part: int = 1
    parts: int = 1

    def holds(self, shard: Shard) -> bool:
        """Whether a shard belongs to it."""
        return shard.unit % self.parts == self.part - 1


def verify(
    url: str, report: Report = ignore, *, jobs: int = 1, share: Share | None = None
) -> Verification:
    """Checks hashes, schema, identity, counts, value ranges, ids, statistics and alignment.

    Args:
        url: the dump.
        report: told of the bytes read.
        jobs: shards read at the same time.
        share: only these shards; then ids are compared among them alone.

    Raises:
        PotstillError: the dump cannot be opened at all (see `open_dump`), or the store failed.
    """
    dump = open_dump(url)
    share = share or Share()
    shards = [shard for shard in dump.shards if share.holds(shard)]
    read = _Read()
    for shard, verdict in zip(shards, _verdicts(dump, shards, jobs, report), strict=True):
        read.add(shard, verdict)
    read.findings += _tokenizer_findings(dump)
    read.findings += _projection_findings(dump)
    if not read.findings:
        read.findings += _repeated_ids(dump, shards, read.ids)
    if not read.findings and len(shards) == len(dump.shards):
        read.findings += _alignment_of_manifest(dump, read)
    return Verification(
        url=url,
        identity=dump.manifest.identity,
        shards=len(read.alignments),
        rows=read.rows,
        tokens=read.tokens,
        positions=read.positions,
        bytes=read.bytes,
        alignment=merged_alignment(read.alignments),
        findings=tuple(read.findings),
        notes=tuple(_notes(dump)),
        of_shards=len(dump.shards),
    )


def _verdicts(
    dump: DumpFolder, shards: Sequence[Shard], jobs: int, report: Report
) -> Iterator[ShardVerdict]:
    """In the shards' order; of threads, since hashing, decompressing and numpy let others run."""
    tick = _ticker(shards, report)
    with ThreadPoolExecutor(jobs) as threads:
        try:
            yield from threads.map(lambda shard: verify_shard(dump, shard, tick), shards)
        finally:
            threads.shutdown(cancel_futures=True)


@dataclass(slots=True, kw_only=True)
class _Read:
    """What was read so far."""

    rows: int = 0
    tokens: int = 0
    positions: int = 0
    bytes: int = 0
    alignments: list[Alignment] = field(default_factory=list)
    ids: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, shard: Shard, verdict: ShardVerdict) -> None:
        """Adds what was found in one shard."""
        self.findings += verdict.findings
        if verdict.sums is None:
            return
        self.rows += verdict.sums.rows
        self.tokens += verdict.sums.tokens
        self.positions += verdict.sums.positions
        self.bytes += shard.bytes + shard.hidden_bytes
        self.alignments.append(verdict.sums.alignment.result())
        self.ids.append(verdict.ids)


def _ticker(shards: Sequence[Shard], report: Report) -> Tick:
    """For several threads."""
    total = sum(shard.bytes + shard.hidden_bytes for shard in shards)
    done, lock = 0, Lock()

    def tick(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            report(Progress(stage="verify", done=done, total=total, unit="bytes"))

    return tick


def _repeated_ids(
    dump: DumpFolder, shards: Sequence[Shard], hashes: list[npt.NDArray[np.uint64]]
) -> Iterator[Finding]:
    values, counts = np.unique(
        np.concatenate(hashes or [np.zeros(0, np.uint64)]), return_counts=True
    )
    repeated = set(values[counts > 1].tolist())
    if repeated:
        owners = [
            shard.name
            for shard, own in zip(shards, hashes, strict=True)
            if not repeated.isdisjoint(own.tolist())
        ]
        yield Finding(
            where=", ".join(owners[:_SHOWN]),
            problem=f"{len(repeated)} sample ids appear more than once in the dump",
            cure="give the corpus's rows ids of their own and dump it anew: potstill dump … --out "
            f"{dump.url}-2",
        )


def _tokenizer_findings(dump: DumpFolder) -> Iterator[Finding]:
    if FILE not in dump.names(layout.TOKENIZER):
        return
    name, expected = f"{layout.TOKENIZER}/{FILE}", dump.manifest.tokenizer.fingerprint
    try:
        found = tokenizer_fingerprint(dump.read_bytes(name))
    except ModelError as error:
        found = str(error)
    if found != expected:
        yield Finding(
            where=name,
            problem=f"it is not the teacher's tokenizer: {found}, expected {expected}",
            cure=fresh(dump),
        )


def _projection_findings(dump: DumpFolder) -> Iterator[Finding]:
    try:
        read_projection(dump)
    except DamagedError as error:
        yield Finding(where=layout.PROJECTION, problem=str(error), cure=fresh(dump))


def _alignment_of_manifest(dump: DumpFolder, read: _Read) -> Iterator[Finding]:
    found = merged_alignment(read.alignments)
    if found.positions != dump.manifest.alignment.positions:
        yield Finding(
            where=layout.MANIFEST,
            problem=(
                f"it says that {dump.manifest.alignment.positions:,} positions took part in the "
                f"alignment self-test; found {found.positions:,}"
            ),
            cure=fresh(dump),
        )


def _notes(dump: DumpFolder) -> Iterator[str]:
    if FILE not in dump.names(layout.TOKENIZER):
        yield f"{layout.TOKENIZER}/{FILE} is not there: ids can be trained on, but not be read"
    known = {shard.name for shard in dump.shards}
    for folder in (layout.DATA, layout.HIDDEN):
        others = [name for name in dump.listing(folder) if name not in known]
        if others:
            yield (
                f"{len(others)} files in {folder}/ are not part of the dump ({others[0]}…): "
                "interrupted workers left them; they may be deleted"
            )
