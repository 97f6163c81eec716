"""Sets aside what is bad in a dump that was made here, so that `potstill dump` makes it again.

First manifest.json goes: from then on nobody takes the dump for a complete one. Then the records of
the bad units, by which they are open again, and last their files move to `.potstill/aside/`. Killed
anywhere in between, the next `potstill verify --repair` does the rest.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from schemas import layout
from schemas.dump_folder import open_dump
from schemas.errors import InputError
from schemas.storage import explained
from schemas.verify_shard import Finding

ASIDE = f"{layout.WORK}/aside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What was done.

    Attributes:
        units: units that are open again.
        aside: files that were moved, as they were called.
        left: findings that no repair mends.
    """

    units: tuple[int, ...]
    aside: tuple[str, ...]
    left: int


def repair(url: str, findings: Iterable[Finding]) -> Repaired:
    """Re-opens the units of bad shards, and moves these and other bad files aside.

    Raises:
        InputError: the dump was not made here, so nothing here can make it again; or no permission.
    """
    dump = open_dump(url)
    folder = Path(dump.path)
    if not isinstance(dump.filesystem, LocalFileSystem) or not (folder / layout.PLAN).exists():
        raise InputError(
            f"{url} was not made in this place (there is no {layout.PLAN}), so its units cannot be "
            f"computed again here. Take a fresh copy: potstill dataset pull SOURCE --out {url}"
        )
    found = list(findings)
    bad = {finding.unit for finding in found if finding.unit is not None}
    others = [f.where for f in found if f.unit is None and _is_companion(f.where)]
    mended = [f for f in found if f.unit is not None or f.where in (*others, layout.MANIFEST)]
    if not mended:
        return Repaired(units=(), aside=(), left=len(found))
    names = [shard.name for shard in dump.shards if shard.unit in bad]
    files = [f"{part}/{name}" for name in names for part in (layout.DATA, layout.HIDDEN)]
    with explained(folder):
        (folder / layout.MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder / layout.LEDGER, ignore_errors=True)
        for unit in bad:
            _reopen(folder, unit)
        aside = [name for name in [*files, *others] if _set_aside(folder, name)]
    return Repaired(units=tuple(sorted(bad)), aside=tuple(aside), left=len(found) - len(mended))


def _is_companion(name: str) -> bool:
    return name == layout.PROJECTION or name.startswith(f"{layout.TOKENIZER}/")


def _reopen(folder: Path, unit: int) -> None:
    (folder / layout.record_path(unit)).unlink(missing_ok=True)
    attempts = (folder / layout.attempt_path(unit, "0")).parent
    for record in attempts.glob(f"{unit:06d}-*.json"):
        record.unlink(missing_ok=True)


def _set_aside(folder: Path, name: str) -> bool:
    """Whether the file was there."""
    source = folder / name
    target = folder / ASIDE / name.replace("/", "-")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.exists():
        return False
    source.rename(target)
    return True
