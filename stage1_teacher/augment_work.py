"""The files of `potstill augment`: work so far in a hidden folder, then the corpus in one step.

Beside OUT stand, while the work goes on, `.<name>.work/` (the plan and one file per finished part)
and, when it is done, `<name>.report.json`. OUT itself appears last, whole, or not at all.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.differences import differences
from schemas.errors import ConflictError, DamagedError
from schemas.storage import create_settled, explained
from schemas.storage_posix import PosixStore, intended_name
from schemas.strict_json import json_bytes, parse_model
from stage1_teacher.augment_plan import AugmentPlan, AugmentReport, Candidate

_PLAN = "plan.json"
_SHOWN = 3


class AugmentWork:
    """One corpus of new prompts, finished or under way.

    Args of the constructor:
        out: the corpus's file.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.parent / f".{out.name}.work"
        self._store = PosixStore(out.parent)

    def finished(self) -> AugmentReport | None:
        """The report of a finished corpus, or None when there is none yet.

        Raises:
            ConflictError: there is a file at `out` that nothing is known about.
        """
        with explained(self.out):
            data = self._store.read(self._report)
            there = self._store.size(self.out.name) is not None or self.out.exists()
        if not there:
            return None
        if data is None:
            raise ConflictError(
                f"{self.out} exists already, and is not of `potstill augment`. Remove it, or "
                "choose another --out."
            )
        return parse_model(AugmentReport, data, str(self.out.parent / self._report))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other processes out of the work folder; the lock ends with this process.

        Raises:
            ConflictError: another process works there.
        """
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise ConflictError(
                f"another process writes {self.out} right now. Wait for it, or choose another "
                "--out."
            ) from None
        finally:
            os.close(descriptor)

    def agree(self, plan: AugmentPlan) -> None:
        """Makes `plan` the plan of the work, or finds that it is.

        Raises:
            ConflictError: work with another plan is under way.
        """
        with explained(self.folder):
            found = create_settled(self._store, self._inside(_PLAN), json_bytes(plan))
        check_plan(plan, parse_model(AugmentPlan, found, str(self.folder / _PLAN)), self.folder)

    def parts(self) -> set[int]:
        """The numbers of the parts that are done."""
        with explained(self.folder):
            names = self._store.names(self.folder.name)
        return {int(name[5:11]) for name in names if name.startswith("part-") and len(name) == 17}

    def save(self, part: int, candidates: Sequence[Candidate]) -> None:
        """Writes a part, whole."""
        lines = "".join(c.model_dump_json() + "\n" for c in candidates)
        with explained(self.folder):
            self._store.replace(self._inside(_part(part)), lines.encode())

    def candidates(self, parts: int) -> Iterator[Candidate]:
        """All candidates of parts 0 to `parts`, in order.

        Raises:
            DamagedError: a part is missing or altered.
        """
        for part in range(parts):
            path = self.folder / _part(part)
            with explained(path):
                data = self._store.read(self._inside(_part(part)))
            if data is None:
                raise DamagedError(f"{path} is gone. Run the same command again: it is made anew.")
            for line in data.splitlines():
                yield parse_model(Candidate, line, str(path))

    def publish(self, corpus: bytes, report: AugmentReport) -> None:
        """Makes report and corpus visible, the corpus last, and clears the work away."""
        with explained(self.out):
            self._store.replace(self._report, json_bytes(report))
            self._store.replace(self.out.name, corpus)
        self.clear()

    def clear(self) -> None:
        """Removes the work folder, if it is there, and what a kill left beside it."""
        with explained(self.folder):
            for name in self._store.names("."):
                if intended_name(name) in (self.out.name, self._report):
                    self._store.remove(name)
            for name in self._store.names(self.folder.name):
                self._store.remove(self._inside(name))
            if self.folder.is_dir():
                self.folder.rmdir()

    @property
    def _report(self) -> str:
        return f"{self.out.name}.report.json"

    def _inside(self, name: str) -> str:
        return f"{self.folder.name}/{name}"


def corpus_bytes(rows: Iterable[Mapping[str, Any]], name: str) -> bytes:
    """Rows as JSON lines, packed where the file's name says so."""
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if not name.endswith(".zst"):
        return data
    packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return packed


def check_plan(here: AugmentPlan, there: AugmentPlan, where: Path) -> None:
    """Compares plans.

    Raises:
        ConflictError: they differ; names how.
    """
    found = differences(here, there)
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ConflictError(
            f"{where} was made with other settings: {'; '.join(found[:_SHOWN])}{more}. "
            "Choose another --out, remove it, or give the settings it was made with."
        )


def _part(number: int) -> str:
    return f"part-{number:06d}.jsonl"
