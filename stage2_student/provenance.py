"""Which dumps a student was trained from: dump.json in its folder, manifests without the ledger."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.dump_folder import DumpFolder

DUMPS = "dump.json"


def provenance(dumps: Sequence[DumpFolder]) -> list[dict[str, Any]]:
    """One entry per dump: everything in its manifest but the shards, and what these add up to."""
    return [_entry(dump) for dump in dumps]


def write_provenance(folder: Path, dumps: Sequence[DumpFolder]) -> None:
    """Writes dump.json."""
    text = json.dumps(provenance(dumps), indent=1, ensure_ascii=False)
    (folder / DUMPS).write_text(text + "\n", "utf-8")


def _entry(dump: DumpFolder) -> dict[str, Any]:
    values = dump.manifest.model_dump(mode="json", exclude={"shards"})
    shards = dump.shards
    return {
        "url": dump.url,
        **values,
        "rows": sum(shard.rows for shard in shards),
        "tokens": sum(shard.tokens for shard in shards),
        "positions": sum(shard.positions for shard in shards),
        "bytes": sum(shard.bytes + shard.hidden_bytes for shard in shards),
    }
