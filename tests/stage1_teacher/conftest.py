"""What several tests of stage one need."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stage1_teacher.settings import DumpSettings
from stage1_teacher.tokenizer import TeacherTokenizer, load_tokenizer
from tests.tiny import tiny_teacher


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is such a place: thousands of fsyncs are tested here."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="potstill-test-", dir=parent))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny, with a chat template; files that need another one have their own."""
    return tiny_teacher(tmp_path_factory.mktemp("teacher") / "t")


@pytest.fixture(scope="session")
def tokenizer(teacher: Path) -> TeacherTokenizer:
    return load_tokenizer(teacher)


@pytest.fixture
def dump(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Runs a prepared dump into tmp_path/out."""
    from stage1_teacher import run

    def start(prepared, out=tmp_path / "out", reports=None, **settings):
        monkeypatch.setattr(run, "prepare", lambda settings, report: prepared)
        settings = DumpSettings(teacher="t", corpus="c", out=str(out), **settings)
        return run.dump(settings, reports.append if reports is not None else lambda _: None)

    return start


@pytest.fixture
def scripted(
    monkeypatch: pytest.MonkeyPatch, tokenizer: TeacherTokenizer
) -> Callable[..., tuple[Any, Any]]:
    """Runs a dump with an engine that says what it is told; gives the engine, too."""
    from stage1_teacher import preparation
    from stage1_teacher.run import dump
    from tests.stage1_teacher.generated_dumps import says
    from tests.stage1_teacher.scripted_engine import ScriptedEngine

    def start(chosen, script=says):
        engine = ScriptedEngine(tokenizer=tokenizer, says=script)
        monkeypatch.setattr(preparation, "_engine", lambda *_: engine)
        return dump(chosen), engine

    return start


@pytest.fixture
def fresh_buckets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is in the buckets, their calls work, and nobody waits for them."""
    from schemas.store_probe import ROUNDS
    from tests.stage1_teacher.buckets import empty

    monkeypatch.setattr("schemas.storage_object._PAUSE_SECONDS", 0.0)
    monkeypatch.setitem(ROUNDS, "conditional", 1)
    empty()
    yield
    empty()


@pytest.fixture(scope="session")
def augment_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with room for a question and a new prompt."""
    return tiny_teacher(tmp_path_factory.mktemp("teacher"), max_position_embeddings=512)


@pytest.fixture
def scripted_augment(
    augment_teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[str], str]], Any]:
    """Has new prompts written by a function of the question; gives the engine."""
    from stage1_teacher import augment_preparation
    from tests.stage1_teacher.augmenting import ScriptedEngine

    def install(write: Callable[[str], str]) -> ScriptedEngine:
        engine = ScriptedEngine(load_tokenizer(augment_teacher), write)
        monkeypatch.setitem(augment_preparation.ENGINES, "transformers", lambda _: engine)
        return engine

    return install
