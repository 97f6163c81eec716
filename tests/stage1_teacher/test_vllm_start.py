import json
import os
import shutil
from pathlib import Path

import pytest

from schemas.errors import ConfigError, ModelError
from stage1_teacher.engine import EngineSettings
from stage1_teacher.vllm_start import (
    INSECURE,
    check_remote_code,
    check_startable,
    explained_start,
    prepare_environment,
    start_llm,
)
from tests.stage1_teacher.vllm_teachers import OPTIONS, vllm_teacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vllm_teacher(tmp_path_factory.mktemp("start") / "teacher")


def settings(teacher: Path, **given: object) -> EngineSettings:
    return EngineSettings(model=teacher, dtype="float32", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["1", "2", "yes"])
def test_insecure_serialisation_is_refused(value: str, teacher: Path, monkeypatch) -> None:
    monkeypatch.setenv(INSECURE, value)
    for start in (check_startable, start_llm):
        with pytest.raises(ConfigError, match=f"unset {INSECURE}"):
            start(settings(teacher))


def test_switched_off_it_is_fine(monkeypatch) -> None:
    monkeypatch.setenv(INSECURE, "0")
    prepare_environment()


def test_one_machine_silent_and_on_loopback(monkeypatch) -> None:
    monkeypatch.setenv("VLLM_HOST_IP", "192.0.2.7")
    monkeypatch.setenv("VLLM_LOGGING_STREAM", "ext://sys.stdout")
    prepare_environment()
    import vllm.envs

    assert vllm.envs.VLLM_HOST_IP == "127.0.0.1"
    assert vllm.envs.VLLM_NO_USAGE_STATS is True
    assert vllm.envs.VLLM_LOGGING_STREAM == "ext://sys.stderr"
    assert os.environ["GLOO_SOCKET_IFNAME"] == os.environ["NCCL_SOCKET_IFNAME"] == "lo"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_remote_code_needs_the_flag(file: str, teacher: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(teacher, tmp_path / "t"))
    held = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**held, "deep": [{"auto_map": {"AutoModel": "m.M"}}]}))
    with pytest.raises(ModelError, match=rf"{file} has auto_map.*--trust-remote-code"):
        check_startable(settings(folder))
    check_remote_code(folder, settings(folder, trust_remote_code=True))
    check_remote_code(teacher, settings(teacher))


def test_a_teacher_that_fits_is_startable(teacher: Path) -> None:
    check_startable(settings(teacher, options=OPTIONS, max_length=256))


REFUSED = {
    "a parallel size that does not divide": ({"tensor_parallel_size": 3}, "tensor-parallel-size"),
    "more stages than layers": ({"pipeline_parallel_size": 5}, "pipeline-parallel-size"),
    "an unknown quantisation": ({"quantization": "fp1"}, "fp1"),
    "an unknown cache": ({"kv_cache_dtype": "fp1"}, "fp1"),
    "an unknown option": ({"no_such_option": 1}, "no_such_option"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_that_vllm_refuses(case: str, teacher: Path) -> None:
    options, told = REFUSED[case]
    with pytest.raises(ModelError, match=told) as refusal:
        check_startable(settings(teacher, options={**OPTIONS, **options}))
    text = str(refusal.value)
    assert " Give " in text or " give " in text
    assert "\n" not in text
    assert "pydantic" not in text


def test_workers_without_a_place_on_a_cpu(teacher: Path, monkeypatch) -> None:
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("this vLLM is for GPUs")
    two = settings(teacher, options={**OPTIONS, "tensor_parallel_size": 2})
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    monkeypatch.setattr("stage1_teacher.vllm_start._numa_nodes", lambda: 1)
    with pytest.raises(ModelError, match=r"this machine has 1.*VLLM_CPU_OMP_THREADS_BIND"):
        check_startable(two)
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1")
    check_startable(two)


def test_a_teacher_that_vllm_does_not_support(teacher: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(teacher, tmp_path / "t"))
    held = json.loads((folder / "config.json").read_text())
    strange = {**held, "model_type": "llama", "architectures": ["StrangeForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(strange))
    with pytest.raises(ModelError, match=r"StrangeForCausalLM.*--engine transformers"):
        check_startable(settings(folder))


def test_a_device_is_vllms_own_choice(teacher: Path) -> None:
    with pytest.raises(ConfigError, match="Leave --device out"):
        check_startable(settings(teacher, device="cuda:1"))


def test_an_error_without_words_still_says_something(teacher: Path) -> None:
    with pytest.raises(ModelError, match="AssertionError"), explained_start(settings(teacher)):
        raise AssertionError
