"""How large and how fast a student is."""

import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from stage2_student.evaluation import StudentModel

PROMPT_TOKENS = 32
NEW_TOKENS = 32


def describe(model: Any, folder: Path, name: str, dtype: str) -> StudentModel:
    """Its parameters (tied ones once) and the bytes of the weight files in its folder."""
    return StudentModel(
        name=name,
        architecture=type(model).__name__,
        parameters=sum(weight.numel() for weight in model.parameters()),
        bytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")),
        dtype=dtype,
    )


@torch.no_grad()
def generated_per_second(model: Any, prompt: list[int]) -> float:
    """Tokens a second written greedily after a prompt, one sequence, cache in use.

    Args:
        model: on its device, its ordinary forward in place.
        prompt: token ids; the first ones of a held-out sequence.
    """
    ids = torch.tensor([prompt[:PROMPT_TOKENS]], device=model.device)
    settings = {"do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(ids)}
    seconds = []
    for _ in range(2):  # the first one warms up
        started = time.perf_counter()
        model.generate(ids, min_new_tokens=NEW_TOKENS, max_new_tokens=NEW_TOKENS, **settings)
        synchronize(model.device)
        seconds.append(time.perf_counter() - started)
    return NEW_TOKENS / min(seconds)


def synchronize(device: torch.device) -> None:
    """Waits until an accelerator has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """Bytes: the most in use on the device so far, or in the process where it runs on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
