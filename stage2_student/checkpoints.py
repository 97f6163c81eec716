"""Checkpoints of a training: OUT/checkpoints/step-N, each whole or not there.

A checkpoint is written into a folder with a leading dot, synced to the disk, and renamed. One that
is not kept is renamed back before it is deleted, so a kill leaves no half of one under a real name.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

FOLDER = "checkpoints"
STATE = "potstill.json"
"""What is ours in a checkpoint: settings, place in the data, figures."""

_NAME = re.compile(r"^step-(\d+)$")


class Checkpoints:
    """The checkpoints of one run folder; only the first rank writes."""

    def __init__(self, out: Path, keep: int) -> None:
        self._folder = out / FOLDER
        self._keep = keep
        self._untidy = True

    def of_step(self, step: int) -> Path:
        """The checkpoint of a step."""
        return self._folder / f"step-{step}"

    def newest(self) -> Path | None:
        """The last checkpoint, or None."""
        steps = self._steps()
        return self.of_step(steps[-1]) if steps else None

    def begin(self, step: int) -> Path:
        """Where a checkpoint is to be written; the same on every rank."""
        return self._folder / f".step-{step}.part"

    def clear(self) -> None:
        """Removes what killed processes left behind."""
        for path in self._folder.glob(".step-*"):
            shutil.rmtree(path)

    def commit(self, step: int) -> None:
        """Makes what was written after `begin` a checkpoint."""
        written = self.begin(step)
        sync_tree(written)
        if self.of_step(step).exists():
            self._drop(step)
        os.rename(written, self.of_step(step))
        sync_folder(self._folder)
        self._untidy = True

    def tidy(self, lowest: int) -> None:
        """Drops the oldest ones, but not that of one step; call it after the step after a commit.

        That step shows that the newest one holds no ruined weights; until then all stay.
        """
        if not self._untidy:
            return
        for old in self._steps()[: -self._keep]:
            if old != lowest:
                self._drop(old)
        self._untidy = False

    def _drop(self, step: int) -> None:
        gone = self._folder / f".step-{step}.gone"
        os.rename(self.of_step(step), gone)
        shutil.rmtree(gone)

    def _steps(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        found = (_NAME.match(path.name) for path in self._folder.iterdir())
        return sorted(int(match[1]) for match in found if match)


def write_state(checkpoint: Path, state: dict[str, Any]) -> None:
    """Writes what is ours into a checkpoint."""
    (checkpoint / STATE).write_text(json.dumps(state, indent=1) + "\n", "utf-8")


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Reads what is ours in a checkpoint."""
    state: dict[str, Any] = json.loads((checkpoint / STATE).read_text("utf-8"))
    return state


def sync_tree(folder: Path) -> None:
    """Brings a folder's files and the folder itself to the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Brings a folder's list of names to the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
