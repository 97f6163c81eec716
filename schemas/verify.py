"""Proves a dump whole and aligned, without a teacher.

Reads every shard once for its hash and once, row group by row group, for everything else; memory is
bounded by a row group plus 8 bytes a row, by which ids are known to be unique.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

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
from schemas.verify_shard import Finding, Tick, verify_shard

__all__ = ["Finding", "Verification", "verify"]

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

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify(url: str, report: Report = ignore) -> Verification:
    """Checks hashes, schema, identity, counts, value ranges, ids, statistics and alignment.

    Raises:
        PotstillError: the dump cannot be opened at all (see `open_dump`), or the store failed.
    """
    dump = open_dump(url)
    read = _Read(dump=dump)
    tick = _ticker(dump, report)
    for shard in dump.shards:
        read.add(shard, tick)
    read.findings += _tokenizer_findings(dump)
    read.findings += _projection_findings(dump)
    if not read.findings:
        read.findings += [*_repeated_ids(dump, read.ids), *_alignment_of_manifest(dump, read)]
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
    )


@dataclass(slots=True, kw_only=True)
class _Read:
    """What was read so far."""

    dump: DumpFolder
    rows: int = 0
    tokens: int = 0
    positions: int = 0
    bytes: int = 0
    alignments: list[Alignment] = field(default_factory=list)
    ids: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, shard: Shard, tick: Tick) -> None:
        """Verifies one shard."""
        verdict = verify_shard(self.dump, shard, tick)
        self.findings += verdict.findings
        if verdict.sums is None:
            return
        self.rows += verdict.sums.rows
        self.tokens += verdict.sums.tokens
        self.positions += verdict.sums.positions
        self.bytes += shard.bytes + shard.hidden_bytes
        self.alignments.append(verdict.sums.alignment.result())
        self.ids.append(verdict.ids)


def _ticker(dump: DumpFolder, report: Report) -> Tick:
    total = sum(shard.bytes + shard.hidden_bytes for shard in dump.shards)
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        report(Progress(stage="verify", done=done, total=total, unit="bytes"))

    return tick


def _repeated_ids(dump: DumpFolder, hashes: list[npt.NDArray[np.uint64]]) -> Iterator[Finding]:
    values, counts = np.unique(
        np.concatenate(hashes or [np.zeros(0, np.uint64)]), return_counts=True
    )
    repeated = set(values[counts > 1].tolist())
    if repeated:
        owners = [
            shard.name
            for shard, own in zip(dump.shards, hashes, strict=True)
            if not repeated.isdisjoint(own.tolist())
        ]
        yield Finding(
            where=", ".join(owners[:_SHOWN]),
            problem=f"{len(repeated)} sample ids appear more than once in the dump",
            cure="dump again: ids must be unique; look at the corpus's own id column first",
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
            cure="take a fresh copy of that file",
        )


def _projection_findings(dump: DumpFolder) -> Iterator[Finding]:
    try:
        read_projection(dump)
    except DamagedError as error:
        cure = "take a fresh copy of that file"
        yield Finding(where=layout.PROJECTION, problem=str(error), cure=cure)


def _alignment_of_manifest(dump: DumpFolder, read: _Read) -> Iterator[Finding]:
    found = merged_alignment(read.alignments)
    if found.positions != dump.manifest.alignment.positions:
        yield Finding(
            where=layout.MANIFEST,
            problem=(
                f"it says that {dump.manifest.alignment.positions:,} positions took part in the "
                f"alignment self-test; found {found.positions:,}"
            ),
            cure="take a fresh copy of manifest.json",
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
