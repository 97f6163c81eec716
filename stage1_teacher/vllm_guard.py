"""Whether this vLLM has what capture takes hold of: its version, and every private name.

Capture sits on names that vLLM does not promise to keep. They are looked for on classes and
signatures, in a second and without a model, so that a new vLLM is met with a sentence and the
public path, and not with an error in the middle of a night.
"""

import inspect
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from schemas.errors import ConfigError
from stage1_teacher.vllm_options import RUNNER, vllm_version

SUPPORTED = ((0, 32), (0, 34))
"""From the first version, up to but without the second; pyproject.toml says the same."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Needed:
    """A class or a function that capture uses.

    Attributes:
        module: where it is.
        owner: its name.
        names: what of a class's instances is used: methods, fields, attributes.
    """

    module: str
    owner: str
    names: tuple[str, ...] = ()


_SCHEDULED = "vllm.v1.core.sched.output"
_RUNNER_V1, _RUNNER_V2 = "vllm.v1.worker.gpu_model_runner", "vllm.v1.worker.gpu.model_runner"
_EMBEDDING = "vllm.model_executor.layers.vocab_parallel_embedding"
_RUNNER_NAMES = (
    *("execute_model", "execute_model_state", "get_model", "model_config", "scheduler_config"),
    *("use_aux_hidden_state_outputs", "device"),
)
_STATE_NAMES = ("hidden_states", "aux_hidden_states")

_EITHER = (
    Needed("vllm", "LLM", ("collective_rpc", "llm_engine")),
    Needed("vllm.v1.engine.llm_engine", "LLMEngine", ("add_request", "step", "abort_request")),
    Needed("vllm.v1.engine.exceptions", "EngineDeadError"),
    Needed("vllm.exceptions", "VLLMValidationError"),
    Needed("vllm.inputs", "tokens_input"),
    Needed("vllm", "SamplingParams", ("extra_args",)),
    Needed("vllm.engine.arg_utils", "EngineArgs", ("worker_extension_cls",)),
    Needed("vllm.v1.worker.worker_base", "WorkerBase", ("model_runner",)),
    Needed(_SCHEDULED, "SchedulerOutput", ("scheduled_new_reqs", "finished_req_ids")),
    Needed(_SCHEDULED, "NewRequestData", ("req_id", "sampling_params")),
    Needed(
        "vllm.model_executor.layers.logits_processor",
        "LogitsProcessor",
        ("scale", "soft_cap", "org_vocab_size"),
    ),
    Needed(_EMBEDDING, "VocabParallelEmbedding", ("shard_indices",)),
    Needed(
        _EMBEDDING,
        "VocabParallelEmbeddingShardIndices",
        ("org_vocab_start_index", "num_org_elements"),
    ),
    Needed("vllm.distributed", "get_tp_group"),
    Needed("vllm.distributed", "get_pp_group"),
    Needed(
        "vllm.distributed.parallel_state",
        "GroupCoordinator",
        ("rank_in_group", "world_size", "is_last_rank", "all_gather"),
    ),
)
_V1 = (
    Needed(_RUNNER_V1, "GPUModelRunner", (*_RUNNER_NAMES, "query_start_loc", "input_ids")),
    Needed(_RUNNER_V1, "ExecuteModelState", _STATE_NAMES),
    Needed("vllm.v1.worker.gpu_input_batch", "InputBatch", ("req_ids", "num_computed_tokens_cpu")),
    Needed("vllm.v1.utils", "CpuGpuBuffer", ("np", "gpu")),
)
_V2 = (
    Needed(_RUNNER_V2, "GPUModelRunner", _RUNNER_NAMES),
    Needed(_RUNNER_V2, "ExecuteModelState", ("input_batch", *_STATE_NAMES)),
    Needed(
        "vllm.v1.worker.gpu.input_batch",
        "InputBatch",
        ("req_ids", "query_start_loc_np", "num_computed_tokens_np", "input_ids"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How vLLM is read, and why not as was wanted."""

    name: Literal["capture", "compat"]
    fallback_reason: str | None = None


def chosen_mode(wanted: str) -> Mode:
    """The mode for `--engine-mode` auto, capture or compat.

    Raises:
        ConfigError: capture is wanted, and this vLLM lacks what it needs.
    """
    if wanted == "compat":
        return Mode(name="compat")
    reason = "; ".join((*_wrong_version(), *missing_names()))
    if not reason:
        return Mode(name="capture")
    if wanted == "capture":
        raise ConfigError(
            f"this vLLM cannot be read beside the model: {reason}. Install one that can: "
            f"pip install '{requirement()}'; or give --engine-mode compat, which is slower."
        )
    log.warning(
        "vLLM is read through its public interface, which is slower and gives less, because this "
        "one lacks what capture needs: %s. To have it: pip install '%s'.",
        reason,
        requirement(),
    )
    return Mode(name="compat", fallback_reason=reason)


def requirement() -> str:
    """The versions that capture was written for, as pip takes them."""
    (low, high) = (".".join(map(str, version)) for version in SUPPORTED)
    return f"vllm>={low},<{high}"


def in_range(version: str) -> bool:
    """Whether capture was written for this version of vLLM."""
    major, minor = version.split(".")[:2]
    return SUPPORTED[0] <= (int(major), int(minor)) < SUPPORTED[1]


def missing_names(needed: tuple[Needed, ...] | None = None) -> Iterator[str]:
    """What capture needs and this vLLM has not, in words; nothing when all is there."""
    for one in needed or (*_EITHER, *(_V2 if os.environ.get(RUNNER) == "1" else _V1)):
        place = f"{one.module}.{one.owner}"
        try:
            owner = getattr(import_module(one.module), one.owner)
        except (ImportError, AttributeError):
            yield f"there is no {place}"
            continue
        lost = sorted({*one.names} - _names(owner)) if one.names else []
        if lost:
            yield f"{place} has no {', '.join(lost)}"


def _wrong_version() -> Iterator[str]:
    found = vllm_version()
    if not in_range(found):
        yield f"it is version {found}, and {requirement()} is what was tested"


def _names(owner: type) -> set[str]:
    """What an instance of a class has, as far as the class tells."""
    found: set[str] = set()
    for part in owner.__mro__:
        found |= {*vars(part), *inspect.get_annotations(part), *_assigned(part)}
    return found


def _assigned(part: type) -> Iterator[str]:
    """Attributes that a class's methods name: what instances get in `__init__` is among them."""
    for member in vars(part).values():
        code = getattr(inspect.unwrap(member), "__code__", None) if callable(member) else None
        if code is not None:
            yield from code.co_names
