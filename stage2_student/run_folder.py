"""OUT: the folder of a run. What is in it decides what a training does there.

While training it holds run.yaml, dump.json, train_log.jsonl and checkpoints/; the model's files are
written into a folder with a leading dot and moved beside these at the end, the weights last. So a
folder with weights is a finished student, and one without them loads nowhere.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from schemas.differences import differences
from schemas.errors import ConflictError, InputError
from stage2_student.checkpoints import Checkpoints, sync_tree
from stage2_student.settings import TrainSettings

RUN = "run.yaml"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")
_UNFINISHED = ".finished.part"
_LOCK = ".lock"
_FREE = frozenset(
    {
        *("dump", "expect_dump", "out", "resume"),
        *("batch_size", "grad_accumulation", "gradient_checkpointing", "compile", "parallel"),
        *("save_steps", "keep_checkpoints", "log_steps", "report_to", "trust_remote_code"),
    }
)
"""Settings that may change when a training goes on: they do not change what it computes. The dumps
are held to their identities, and the rows of a step to their number, by the stream."""

_PATHS = ("student", "student_config")


def is_finished(out: Path) -> bool:
    """Whether the folder holds a finished student."""
    return any((out / name).is_file() for name in _WEIGHTS)


def look_at(settings: TrainSettings) -> Path | None:
    """The checkpoint to go on from, or None to begin.

    Raises:
        ConflictError: the folder holds a training with other settings, or an unfinished one and
            there is no --resume.
        InputError: the folder holds something else, or there is a file of that name.
    """
    out = Path(settings.out).expanduser()
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file. Give a folder with --out.")
    held = sorted(p.name for p in out.iterdir() if p.name[0] != ".") if out.exists() else []
    if not held:
        return None
    if RUN not in held:
        raise InputError(
            f"{out} holds something else than a training: {', '.join(held[:3])}. Give another "
            "folder with --out."
        )
    newest = Checkpoints(out, settings.keep_checkpoints).newest()
    if newest is not None or is_finished(out):
        check_same(settings, out)
    if newest is not None and not (settings.resume or is_finished(out)):
        raise ConflictError(
            f"{out} holds an unfinished training with a checkpoint at {newest.name}. Give --resume "
            "to go on, or another folder with --out."
        )
    return newest


def check_same(settings: TrainSettings, out: Path) -> None:
    """Checks that the training in a folder is the one that the settings describe.

    Raises:
        ConflictError: it is not; shows every differing setting with both values.
    """
    there = TrainSettings.model_validate(read_run(out))
    same = {
        name: getattr(there, name) for name in (*_FREE, *_PATHS) if _same(settings, there, name)
    }
    found = differences(settings.model_copy(update=same), there)
    if found:
        lines = "".join(f"\n  {line}" for line in found)
        raise ConflictError(
            f"{out} holds a training with other settings (here: given now, there: in its "
            f"{RUN}):{lines}\nGive the same settings, or another folder with --out."
        )


def _same(settings: TrainSettings, there: TrainSettings, name: str) -> bool:
    """Whether it may differ, or is the same path written otherwise."""
    now = getattr(settings, name)
    return name in _FREE or (now is not None and absolute(now) == getattr(there, name))


def write_run(out: Path, settings: TrainSettings) -> None:
    """Writes run.yaml: `potstill train run.yaml`, from any folder, means this training."""
    found = settings.model_dump(mode="json", exclude_none=True, exclude={"resume"})
    for name in ("out", *_PATHS):
        if found.get(name):
            found[name] = absolute(found[name])
    found["dump"] = [absolute(dump) for dump in found["dump"]]
    text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True)
    (out / RUN).write_text(f"# potstill train {RUN}\n{text}", "utf-8")


def read_run(out: Path) -> dict[str, Any]:
    """The settings in run.yaml."""
    found: dict[str, Any] = yaml.safe_load((out / RUN).read_text("utf-8"))
    return found


def absolute(path: str) -> str:
    """A local path that exists, from the root; URLs, patterns and hub names as they are."""
    local = Path(path).expanduser()
    return str(local.resolve()) if local.exists() else path


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Makes the folder and keeps other trainings out of it.

    Raises:
        ConflictError: another process trains there.
        InputError: the folder cannot be made or written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / _LOCK).open("a")
    except OSError as error:
        raise InputError(
            f"{out} cannot be written to: {error.strerror}. Give another folder with --out."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConflictError(f"another process trains in {out}. Wait for it.") from error
        yield


def publish(out: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a folder with a model's files, then moves them to `out`, weights last."""
    folder = out / _UNFINISHED
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write(folder)
    readable = folder.stat().st_mode & 0o666
    for path in folder.iterdir():
        path.chmod(readable)  # safetensors' files are their owner's alone, whatever the umask says
    sync_tree(folder)
    for path in sorted(folder.iterdir(), key=_order):
        os.replace(path, out / path.name)
    folder.rmdir()


def _order(path: Path) -> tuple[int, str]:
    announces = path.name in _WEIGHTS
    return (2 if announces else path.suffix == ".safetensors"), path.name
