"""What the tests of `potstill dataset` share."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from schemas.dump_folder import open_dump
from schemas.verify import verify


def rows_of(path: Path | str, folder: str = "data") -> list[dict[str, Any]]:
    """Every row of a dump, in order, as its ledger has them."""
    shards = open_dump(path).shards
    return [r for s in shards for r in pq.read_table(f"{path}/{folder}/{s.name}").to_pylist()]


def by_id(path: Path | str, folder: str = "data") -> dict[str, dict[str, Any]]:
    """The same by id."""
    rows = rows_of(path, folder)
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def whole(path: Path | str) -> bool:
    """Whether verify finds nothing, not even something odd."""
    found = verify(str(path))
    assert found.findings == () and found.notes == (), found
    return True


def nothing_left(folder: Path, *names: str) -> bool:
    """Whether a folder holds these names and no other, temporary ones included."""
    return sorted(path.name for path in folder.iterdir()) == sorted(names)
