"""What several tests of stage one need."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.store_probe import ROUNDS
from stage1_teacher import run
from stage1_teacher.settings import DumpSettings
from tests.stage1_teacher.buckets import empty


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: thousands of fsyncs are tested here."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="potstill-test-", dir=parent))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def dump(monkeypatch, tmp_path):
    """Runs a prepared dump into tmp_path/out."""

    def start(prepared, out=tmp_path / "out", reports=None, **settings):
        monkeypatch.setattr(run, "prepare", lambda settings, report: prepared)
        settings = DumpSettings(teacher="t", corpus="c", out=str(out), **settings)
        return run.dump(settings, reports.append if reports is not None else lambda _: None)

    return start


@pytest.fixture
def fresh_buckets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is in the buckets, their calls work, and nobody waits for them."""
    monkeypatch.setattr("schemas.storage_object._PAUSE_SECONDS", 0.0)
    monkeypatch.setitem(ROUNDS, "conditional", 1)
    empty()
    yield
    empty()
