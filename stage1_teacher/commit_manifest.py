"""The manifest as a pure function of plan and records, and the files of its ledger."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.alignment import merged_alignment
from schemas.ledger import GROUP_LINES, INLINE, LedgerLines, ledger_parts
from schemas.ledger_part import LedgerPart
from schemas.manifest import Alignment, Manifest, Setting, Settings, Shard, manifest_identity

_NO_HASH = "sha256:" + "0" * 64


class Heading(Protocol):
    """What a manifest says besides its shards: a plan has it."""

    @property
    def settings(self) -> Settings:
        """Everything that decides the numbers."""
        ...

    @property
    def plan(self) -> str:
        """The hash over them."""
        ...

    @property
    def created_by(self) -> str:
        """Program and version."""
        ...

    @property
    def engine_options(self) -> dict[str, Setting]:
        """What decides no number."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """What a dump ends with.

    Attributes:
        manifest: manifest.json.
        shards: its ledger.
        files: the files under ledger/ by name, where the ledger is long.
    """

    manifest: Manifest
    shards: Sequence[Shard]
    files: Mapping[str, bytes]


def assemble(heading: Heading, shards: Iterable[Shard], count: int) -> Assembled:
    """The manifest of some shards: depends on nothing else, so all workers agree on it.

    Args:
        heading: the dump's plan.
        shards: ascending by unit; of long ledgers only a few are held at a time.
        count: how many there are.
    """
    if count <= INLINE:
        lines = list(shards)
        alignment = merged_alignment([line.statistics.alignment for line in lines])
        return Assembled(
            manifest=_manifest(heading, lines, None, alignment), shards=lines, files={}
        )
    alignments = _Alignments()
    written = list(ledger_parts(alignments.watched(shards)))
    manifest = _manifest(heading, [], [part for part, _ in written], alignments.merged())
    return Assembled(
        manifest=manifest,
        shards=LedgerLines([data for _, data in written]),
        files={part.name: data for part, data in written},
    )


class _Alignments:
    """Merges the self-tests of shards that pass by."""

    def __init__(self) -> None:
        self._parts: list[Alignment] = []

    def watched(self, shards: Iterable[Shard]) -> Iterator[Shard]:
        for shard in shards:
            self._parts.append(shard.statistics.alignment)
            if len(self._parts) >= GROUP_LINES:
                self._parts = [self.merged()]
            yield shard

    def merged(self) -> Alignment:
        return merged_alignment(self._parts)


def _manifest(
    heading: Heading, shards: list[Shard], ledger: list[LedgerPart] | None, alignment: Alignment
) -> Manifest:
    manifest = Manifest(
        **{name: getattr(heading.settings, name) for name in Settings.model_fields},
        created_by=heading.created_by,
        engine_options=heading.engine_options,
        plan=heading.plan,
        identity=_NO_HASH,
        shards=shards,
        ledger=ledger,
        alignment=alignment,
    )
    return manifest.model_copy(update={"identity": manifest_identity(manifest)})
