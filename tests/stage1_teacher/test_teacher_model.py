import os
from pathlib import Path

import pytest
import torch

from schemas.errors import ConfigError, ModelError
from stage1_teacher.engine import EngineSettings
from stage1_teacher.teacher_model import load_teacher, set_cpu_threads
from tests.tiny import tiny_teacher

DTYPES = ["float32", "bfloat16"]


def load(folder: Path, **settings):
    return load_teacher(EngineSettings(model=folder, device="cpu", **settings))


@pytest.fixture(scope="module", params=["llama", "gemma2", "granite", "cohere"])
def teacher(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / request.param
    return tiny_teacher(folder, architecture=request.param)


@pytest.mark.parametrize("dtype", DTYPES)
def test_loads_in_the_dtype_asked_for(teacher: Path, dtype: str) -> None:
    loaded = load(teacher, dtype=dtype)
    assert loaded.model.dtype == loaded.head.weight_VD.dtype == getattr(torch, dtype)
    assert not loaded.model.training
    assert loaded.head.size == 384


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    folder = tiny_teacher(tmp_path / "m")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot load the teacher"):
        load(folder)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_teacher(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights .* are not in its files.*model.norm.weight"):
        load(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used here"),
        ({"device": "toaster"}, "device 'toaster' cannot be used here"),
        ({"dtype": "float8"}, "no dtype 'float8'"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, settings: dict, message: str) -> None:
    folder = tiny_teacher(tmp_path / "m")
    with pytest.raises(ConfigError, match=message):
        load_teacher(EngineSettings(**{"model": folder, "device": "cpu", **settings}))


def test_loading_prints_nothing(tmp_path: Path, capfd) -> None:
    folder = tiny_teacher(tmp_path / "m")
    capfd.readouterr()
    load(folder)
    assert capfd.readouterr() == ("", "")


def test_threads_stay_within_what_the_process_may_use(monkeypatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    try:
        set_cpu_threads()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
