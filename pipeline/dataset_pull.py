"""A dump's copy on this machine: only what is missing is fetched, and what comes is hashed."""

from pathlib import Path

from pipeline.dataset_files import DumpFile, dump_files, fetch_file, is_there
from pipeline.dataset_moves import Moved, conflict, ticker
from pipeline.dataset_settings import PullSettings
from schemas import layout
from schemas.dump_folder import DumpFolder, open_dump
from schemas.errors import InputError
from schemas.progress import Report, ignore
from schemas.storage import explained
from schemas.storage_posix import intended_name
from schemas.store_failures import store_failures


def pull(settings: PullSettings, report: Report = ignore, dry_run: bool = False) -> Moved:
    """Copies a dump into a local folder; run again, it goes on, and replaces what was altered.

    Raises:
        ConflictError: the folder holds something else.
        MismatchError: the dump is not the expected one.
        DamagedError: a file is not what the dump's manifest says.
        InputError: disk full, no permission, no credentials.
        TemporaryError: the store failed; what came is kept.
    """
    dump = open_dump(settings.dump, expect=settings.expect)
    if "://" in settings.out:
        raise InputError(f"--out {settings.out} is no local folder. Give a folder.")
    folder = Path(settings.out)
    files = dump_files(dump)
    with explained(folder):
        _check_place(folder, dump, files)
        missing = [file for file in files if not is_there(folder, file)]
    if missing and missing[-1].name != layout.MANIFEST:
        with explained(folder):  # altered since: what is complete must not miss a file meanwhile
            (folder / layout.MANIFEST).unlink(missing_ok=True)
        missing.append(files[-1])
    tick = ticker("pull", missing, report)
    for file in [] if dry_run else missing:
        with explained(folder / file.name), store_failures(f"{file.name} in {dump.url}"):
            fetch_file(dump, file, folder, tick)
    return Moved(
        source=dump.url,
        target=settings.out,
        identity=dump.manifest.identity,
        files=len(files),
        copied=[file.name for file in missing],
        bytes=sum(file.bytes for file in missing),
        dry_run=dry_run,
    )


def _check_place(folder: Path, dump: DumpFolder, files: list[DumpFile]) -> None:
    """Nothing but files of this dump may be there."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise conflict(str(folder), [folder.name], "--out")
    manifest = folder / layout.MANIFEST
    if manifest.exists():
        own = open_dump(folder)
        if own.manifest.identity != dump.manifest.identity:
            raise conflict(str(folder), [f"the dump {own.manifest.identity}"], "--out")
    known = {file.name for file in files}
    found = [str(p.relative_to(folder)) for p in sorted(folder.rglob("*")) if not p.is_dir()]
    others = [n for n in found if n not in known and intended_name(n.rpartition("/")[2]) is None]
    others = [name for name in others if not name.startswith(f"{layout.WORK}/")]
    if others and not manifest.exists():
        raise conflict(str(folder), others, "--out")
