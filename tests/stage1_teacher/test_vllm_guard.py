"""A vLLM without a name that capture needs is met with a sentence, and the public path."""

import logging
import tomllib
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from stage1_teacher import vllm_guard
from stage1_teacher.vllm_guard import Mode, Needed, chosen_mode, in_range, missing_names
from tests.stage1_teacher.vllm_teachers import OPTIONS, vllm_teacher

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("runner", ["_V1", "_V2"])
def test_nothing_is_missing_in_the_vllm_that_is_tested(runner: str) -> None:
    needed = (*vllm_guard._EITHER, *getattr(vllm_guard, runner))
    assert list(missing_names(needed)) == []


def test_all_is_there_so_it_is_captured_beside_the_model(caplog) -> None:
    assert chosen_mode("auto") == chosen_mode("capture") == Mode(name="capture")
    assert chosen_mode("compat") == Mode(name="compat")
    assert not caplog.records


LOST = {
    "a module": (Needed("vllm.v1.worker.no_such_runner", "R"), "no vllm.v1.worker.no_such_runner"),
    "a class": (Needed("vllm.v1.core.sched.output", "NoOutput"), "vllm.v1.core.sched.output.NoOut"),
    "a field": (
        Needed("vllm.v1.core.sched.output", "SchedulerOutput", ("finished_req_ids", "no_field")),
        "vllm.v1.core.sched.output.SchedulerOutput has no no_field",
    ),
    "an attribute": (
        Needed("vllm.v1.worker.gpu_model_runner", "GPUModelRunner", ("execute_model", "lost_one")),
        "GPUModelRunner has no lost_one",
    ),
}


@pytest.mark.parametrize("case", LOST)
def test_a_missing_name_falls_back_and_is_named(case: str, monkeypatch, caplog) -> None:
    needed, named = LOST[case]
    monkeypatch.setattr(vllm_guard, "_EITHER", (*vllm_guard._EITHER, needed))
    with caplog.at_level(logging.WARNING):
        mode = chosen_mode("auto")
    assert mode.name == "compat"
    assert mode.fallback_reason is not None
    assert named in mode.fallback_reason
    assert named in caplog.text
    assert vllm_guard.requirement() in caplog.text
    with pytest.raises(ConfigError, match="--engine-mode compat"):
        chosen_mode("capture")
    assert chosen_mode("compat").fallback_reason is None


def test_a_method_that_vllm_loses_is_noticed(monkeypatch) -> None:
    """Not a name that never was: a real one, taken away."""
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    for part in GPUModelRunner.__mro__:
        if "execute_model" in vars(part):
            monkeypatch.delattr(part, "execute_model")
    assert any("has no execute_model" in text for text in missing_names(vllm_guard._V1))


@pytest.mark.parametrize(
    ("version", "fits"),
    [("0.31.9", False), ("0.32.0", True), ("0.33.1", True), ("0.34.0", False), ("1.32.0", False)],
)
def test_versions(version: str, fits: bool, monkeypatch) -> None:
    assert in_range(version) is fits
    monkeypatch.setattr(vllm_guard, "vllm_version", lambda: version)
    mode = chosen_mode("auto")
    assert (mode.name == "capture") is fits
    assert fits or version in str(mode.fallback_reason)


def test_the_range_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extra,) = project["optional-dependencies"]["vllm"]
    assert extra.startswith(vllm_guard.requirement())


def test_the_engine_of_a_vllm_that_lacks_a_name_says_why(monkeypatch, tmp_path: Path) -> None:
    from stage1_teacher.engine import ENGINES, EngineSettings
    from stage1_teacher.vllm_compat import CompatEngine

    teacher = vllm_teacher(tmp_path / "teacher")
    settings = EngineSettings(model=teacher, dtype="float32", options=OPTIONS)
    assert ENGINES["vllm"](settings).info().settings["mode"] == "capture"
    lost = (*vllm_guard._EITHER, Needed("vllm", "LLM", ("lost",)))
    monkeypatch.setattr(vllm_guard, "_EITHER", lost)
    engine = ENGINES["vllm"](settings)
    assert isinstance(engine, CompatEngine)
    info = engine.info().settings
    assert (info["mode"], info["fallback_reason"]) == ("compat", "vllm.LLM has no lost")
