"""Starts vLLM, and says why it will not: environment, security, errors in words to act on.

vLLM is configured by environment variables too, which its worker processes inherit, so they are set
before it is imported. One machine only: nothing listens but on the loopback interface.
"""

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.errors import ConfigError, ModelError
from stage1_teacher.engine import EngineSettings
from stage1_teacher.teacher import read_config
from stage1_teacher.teacher_folder import locate_teacher
from stage1_teacher.vllm_options import RUNNER, llm_arguments

INSECURE = "VLLM_ALLOW_INSECURE_SERIALIZATION"

_FIXED = {
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    # a sequence as long as the teacher's context leaves no room for the token that vLLM generates
    # after it, which is never fed back
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
}
_DEFAULTS = {
    "VLLM_LOGGING_LEVEL": "WARNING",
    RUNNER: "0",  # the one that was run; a user may set it to 1
}
_REFUSALS = (ValueError, RuntimeError, OSError, ImportError, TypeError, KeyError, AssertionError)
_ADVICE = (
    ("parallel", "Give --tensor-parallel-size and --pipeline-parallel-size that fit, or neither."),
    ("not supported for now", "Give --engine transformers."),
    ("see root cause", "vLLM's own words stand above. Or give --engine transformers."),
    ("memory", "Give a smaller --max-length, or more --gpu-memory-utilization."),
    ("kv cache", "Give a smaller --max-length, or more --gpu-memory-utilization."),
)


def prepare_environment() -> None:
    """Sets what vLLM reads from the environment; before it is imported, or it is too late.

    Raises:
        ConfigError: vLLM's insecure serialisation is switched on.
    """
    if os.environ.get(INSECURE, "0") not in ("", "0"):
        raise ConfigError(
            f"{INSECURE} is set: whoever reaches vLLM's processes could run code in them, and "
            f"potstill needs nothing of it. Unset it: unset {INSECURE}."
        )
    os.environ.update(_FIXED)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def check_startable(settings: EngineSettings) -> None:
    """Lets vLLM check teacher and options against each other, without loading weights.

    Raises:
        ConfigError: see `prepare_environment`; or a device was given.
        ModelError: vLLM does not support the teacher, or not with these options; or it comes with
            code that is not trusted.
    """
    prepare_environment()
    _check_device(settings.device)
    folder = locate_teacher(settings.model, settings.revision)
    check_remote_code(folder, settings)
    _check_stages(folder, settings)
    from vllm.engine.arg_utils import EngineArgs

    with explained_start(settings):
        EngineArgs(**llm_arguments(settings)).create_engine_config()
    _check_places(settings)


def start_llm(settings: EngineSettings, **more: Any) -> Any:
    """A started `vllm.LLM`; `more` are further arguments of it, which have their way.

    Raises:
        ModelError: vLLM cannot run the teacher with these options.
        ConfigError: see `prepare_environment`.
    """
    prepare_environment()
    check_remote_code(locate_teacher(settings.model, settings.revision), settings)
    from vllm import LLM

    with explained_start(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="vllm")
        return LLM(**(llm_arguments(settings) | more))


@contextmanager
def explained_start(settings: EngineSettings) -> Iterator[None]:
    """Turns vLLM's refusals into ours."""
    try:
        yield
    except _REFUSALS as error:
        reason = _reason(error)
        advice = next(
            (text for word, text in _ADVICE if word in reason.lower()),
            "Change the option that it names, or give --engine transformers.",
        )
        raise ModelError(
            f"vLLM cannot run the teacher {settings.model}: {reason} {advice}"
        ) from error


def check_remote_code(folder: Path, settings: EngineSettings) -> None:
    """Refuses a teacher whose files name Python code to run, unless that is trusted.

    Versions of vLLM have run such code without being told to, so it does not get to see it.

    Raises:
        ModelError: names the file.
    """
    for path in sorted(folder.glob("*config.json")):
        if not settings.trust_remote_code and _names_code(path):
            raise ModelError(
                f"the teacher in {folder} comes with Python code to run ({path.name} has "
                "auto_map). Read that code, then give --trust-remote-code."
            )


def _names_code(path: Path) -> bool:
    try:
        return _has_key(json.loads(path.read_text("utf-8")), "auto_map")
    except ValueError as error:
        raise ModelError(f"{path} is no JSON: {error}. Copy the teacher anew.") from error


def _has_key(value: Any, key: str) -> bool:
    if isinstance(value, dict):
        return key in value or any(_has_key(item, key) for item in value.values())
    return isinstance(value, list) and any(_has_key(item, key) for item in value)


def _check_device(device: str) -> None:
    if device != "auto":
        raise ConfigError(
            f"vLLM runs on what it was built for; found --device {device}. Leave --device out; "
            "CUDA_VISIBLE_DEVICES chooses among GPUs."
        )


def _check_stages(folder: Path, settings: EngineSettings) -> None:
    """What vLLM finds out only in its workers."""
    stages = _size(settings, "pipeline_parallel_size")
    layers = read_config(folder, settings.trust_remote_code).get_text_config().num_hidden_layers
    if stages > layers:
        raise ModelError(
            f"the teacher has {layers} layers; found pipeline_parallel_size {stages}. "
            f"Give --pipeline-parallel-size {layers} or less."
        )


def _check_places(settings: EngineSettings) -> None:
    """On a CPU, vLLM finds out only in its workers that it has no place for them."""
    from vllm.platforms import current_platform

    ranks = _size(settings, "tensor_parallel_size") * _size(settings, "pipeline_parallel_size")
    bound = os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "auto") != "auto"
    if not current_platform.is_cpu() or bound or ranks <= _numa_nodes():
        return
    raise ModelError(
        f"vLLM binds each of its {ranks} workers to a NUMA node of its own, and this machine has "
        f"{_numa_nodes()}. Leave --tensor-parallel-size and --pipeline-parallel-size out, or say "
        "which cores they shall have: VLLM_CPU_OMP_THREADS_BIND='0-3|4-7'."
    )


def _size(settings: EngineSettings, name: str) -> int:
    value = settings.options.get(name, 1)
    return value if isinstance(value, int) else 1


def _numa_nodes() -> int:
    return max(1, len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))))


def _reason(error: BaseException) -> str:
    """One sentence of an error, without pydantic's frame; it ends with a full stop."""
    text = " ".join(_words(error).split())[:400].rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _words(error: BaseException) -> str:
    if not isinstance(error, ValidationError):
        return str(error) or type(error).__name__
    first = error.errors()[0]
    if first["type"] in ("value_error", "assertion_error"):
        return first["msg"].partition(", ")[2] or first["msg"]
    return f"{'.'.join(map(str, first['loc']))} {first['input']!r}: {first['msg']}"
