import pytest

from schemas.errors import ConfigError
from stage1_teacher.settings import DumpSettings
from stage1_teacher.vllm_settings import VllmSettings

GIVEN = {
    "engine_mode": "compat",
    "head_dtype": "model",
    "tensor_parallel_size": 2,
    "pipeline_parallel_size": 2,
    "quantization": "fp8",
    "kv_cache_dtype": "fp8",
    "gpu_memory_utilization": 0.5,
    "max_num_batched_tokens": 512,
    "max_num_seqs": 8,
    "enforce_eager": False,
}


def dump_settings(**given: object) -> DumpSettings:
    return DumpSettings.model_validate({"teacher": "t", "corpus": "c", "out": "o", **given})


def test_the_cases_cover_every_option() -> None:
    assert set(GIVEN) == set(VllmSettings.model_fields)


@pytest.mark.parametrize("name", GIVEN)
def test_an_option_of_vllm_is_refused_with_another_engine(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is an option of vLLM.*--engine vllm"):
        dump_settings(**{name: GIVEN[name]})
    dump_settings(engine="vllm", **{name: GIVEN[name]})


def test_only_what_was_given_reaches_vllm() -> None:
    assert dump_settings(engine="vllm").vllm_options() == {}
    every = dump_settings(engine="vllm", **GIVEN).vllm_options()
    assert every == {name: value for name, value in GIVEN.items() if name != "engine_mode"}
