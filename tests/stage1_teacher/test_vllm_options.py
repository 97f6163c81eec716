from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from stage1_teacher import vllm_options
from stage1_teacher.engine import EngineSettings
from stage1_teacher.vllm_options import knobs, llm_arguments, vllm_info, vllm_version
from tests.tiny import tiny_teacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_teacher(tmp_path_factory.mktemp("options") / "teacher")


def test_what_decides_numbers_is_apart_from_what_does_not(monkeypatch) -> None:
    monkeypatch.setattr(vllm_options, "version", lambda name: "0.32.0+cpu")
    options = {"tensor_parallel_size": 2, "max_num_seqs": 4, "enforce_eager": True}
    info = vllm_info(EngineSettings(model="m", options=options), "compat", "no such name")
    assert (info.name, info.version) == ("vllm", "0.32.0")
    assert info.settings["tensor_parallel_size"] == 2
    assert info.settings["head_dtype"] == "float32"
    assert (info.settings["mode"], info.settings["fallback_reason"]) == ("compat", "no such name")
    assert knobs(options) == {"max_num_seqs": 4, "enforce_eager": True}
    assert not set(knobs(options)) & set(info.settings)


def test_the_runner_is_the_one_that_will_run(monkeypatch) -> None:
    monkeypatch.setattr(vllm_options, "version", lambda name: "0.32.0")
    found = []
    for value in ("0", "1"):
        monkeypatch.setenv(vllm_options.RUNNER, value)
        found.append(vllm_info(EngineSettings(model="m"), "capture", None).settings["runner"])
    assert found == ["v1", "v2"]


def test_options_have_their_way_and_the_prefix_cache_is_off(teacher: Path) -> None:
    settings = EngineSettings(
        model=teacher,
        dtype="float32",
        batch_tokens=512,
        max_length=100,
        options={"head_dtype": "model", "max_num_batched_tokens": 64, "kv_cache_dtype": "fp8"},
    )
    arguments = llm_arguments(settings)
    assert arguments["model"] == str(teacher)
    assert arguments["max_num_batched_tokens"] == 64
    assert arguments["hf_overrides"] == {"head_dtype": "model"}
    assert arguments["kv_cache_dtype"] == "fp8"
    assert arguments["max_model_len"] == 101
    assert arguments["enable_prefix_caching"] is False
    assert "head_dtype" not in arguments
    plain = llm_arguments(EngineSettings(model=teacher, batch_tokens=512))
    assert plain["max_num_batched_tokens"] == 512
    assert "max_model_len" not in plain


def test_without_vllm_there_is_a_way_to_have_it(monkeypatch) -> None:
    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(vllm_options, "version", none)
    with pytest.raises(ConfigError, match=r"pip install 'potstill\[vllm\]'"):
        vllm_version()
