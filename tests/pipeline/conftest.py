"""What several tests of the command line need."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.bad_input import TEXT, Place
from tests.pipeline.command_line import potstill
from tests.tiny import tiny_teacher, write_rows


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "teacher": tiny_teacher(folder / "teacher"),
        "base": tiny_teacher(folder / "base", chat_template=None),
        "narrow": tiny_teacher(folder / "narrow", vocabulary=300),
    }


@pytest.fixture(scope="session")
def teacher(models: dict[str, Path]) -> Path:
    return models["teacher"]


@pytest.fixture(scope="session")
def dumped(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dumped")
    rows = [{"text": TEXT * 2 + str(i)} for i in range(6)]
    corpus = write_rows(folder / "corpus.jsonl", rows)
    words = ["--teacher", models["teacher"], "--corpus", corpus, "--out", folder / "dump"]
    ran = potstill("dump", *words, "--dtype", "float32", "--unit-size", 3, "--max-length", 64)
    assert ran.code == 0, ran.err
    return folder / "dump"


@pytest.fixture
def place(models: dict[str, Path], dumped: Path, tmp_path: Path) -> Place:
    return Place(
        teacher=models["teacher"],
        base=models["base"],
        corpus=dumped.parent / "corpus.jsonl",
        dump=dumped,
        room=tmp_path,
    )


@pytest.fixture
def night(teacher: Path, tmp_path: Path) -> Callable[..., Any]:
    """Runs one night over tmp_path/corpus as the command does, on a day of its own."""
    from pipeline.nightly import Tools, run_night
    from pipeline.nightly_folder import NightlyFolder
    from pipeline.nightly_settings import NightlySettings
    from pipeline.nightly_status import StatusBook

    (tmp_path / "corpus").mkdir()
    days = iter(range(1, 29))

    def start(**more):
        settings = NightlySettings(
            teacher=str(teacher),
            corpus=str(tmp_path / "corpus"),
            out=str(tmp_path / "dumps"),
            license="unknown",
            dtype="float32",
            unit_size=4,
            **more,
        )
        folder = NightlyFolder(tmp_path / "dumps")
        day = date(2026, 11, next(days))
        with folder.locked():
            book = StatusBook(folder, None)
            return run_night(settings, folder, book, lambda _: None, Tools(today=lambda: day))

    return start
