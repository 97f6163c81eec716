"""Loads a transformers teacher, ready for capture and proven."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from schemas.errors import ConfigError, ModelError
from stage1_teacher.engine import EngineSettings
from stage1_teacher.output_head import OutputHead
from stage1_teacher.teacher import explain_load
from stage1_teacher.teacher_folder import locate_teacher
from stage1_teacher.teacher_proof import prove_teacher

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherModel:
    """A loaded teacher, on its device.

    Attributes:
        model: the transformers model.
        head: its output head.
        end_ids: the tokens that end a response.
    """

    model: Any
    head: OutputHead
    end_ids: frozenset[int] = frozenset()

    @property
    def device(self) -> torch.device:
        """Where the head's products run."""
        return self.head.weight_VD.device


def load_teacher(settings: EngineSettings) -> TeacherModel:
    """Loads and proves the teacher.

    Raises:
        ModelError: it does not exist, cannot be loaded, or fails the proof.
        ConfigError: the device or the dtype does not exist.
    """
    folder = locate_teacher(settings.model, settings.revision)
    device = _device(settings.device)
    with _quiet_loading():
        model = _load(folder, settings).to(device).eval().requires_grad_(False)
    head = OutputHead.of(model)
    prove_teacher(model, head)
    return TeacherModel(model=model, head=head, end_ids=_end_ids(model))


def set_cpu_threads() -> None:
    """Keeps torch from running more threads than this process may use; OMP_NUM_THREADS wins."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), _cpus())))


def _cpus() -> int:
    """CPUs by affinity and by the container's quota, which OpenMP does not look at."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = Path("/sys/fs/cgroup/cpu.max")
    words = quota.read_text().split() if quota.is_file() else ["max"]
    limit = allowed if words[0] == "max" else int(words[0]) // int(words[1])
    return min(allowed or 1, limit or 1)


def _load(folder: Path, settings: EngineSettings) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    if settings.dtype not in _DTYPES:
        raise ConfigError(f"no dtype {settings.dtype!r}. Give one of: {', '.join(_DTYPES)}.")
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=_DTYPES[settings.dtype],
            trust_remote_code=settings.trust_remote_code,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(explain_load(folder, error)) from error
    _check_complete(folder, sorted(found["missing_keys"]))
    return model


def _end_ids(model: Any) -> frozenset[int]:
    """All end-of-sequence tokens of the generation configuration."""
    found = model.generation_config.eos_token_id
    if found is None:
        return frozenset()
    return frozenset(found if isinstance(found, list | tuple) else [found])


def _check_complete(folder: Path, missing: list[str]) -> None:
    """Weights that are not in the files would be random, and transformers only warns."""
    if missing:
        raise ModelError(
            f"{len(missing)} weights of the teacher in {folder} are not in its files, the first "
            f"is {missing[0]}. Copy the folder anew, or give the model that the files belong to."
        )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device {name!r} cannot be used here: {str(error).splitlines()[0]} "
            "Give --device cpu, or leave it out."
        ) from error
    return device


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Only the command line prints: no progress bar of transformers' own."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()
