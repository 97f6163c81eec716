"""The finished student as files that anyone can load."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def save_model(folder: Path, model: Any, weights: Mapping[str, torch.Tensor], dtype: str) -> None:
    """Writes configuration, generation settings and weights in `dtype`, as safetensors.

    Args:
        folder: exists.
        model: a transformers model with its own forward.
        weights: its whole state dict, gathered from wherever its shards were.
        dtype: float32 or bfloat16.
    """
    model.save_pretrained(folder, state_dict=_cast(weights, _DTYPES[dtype]))
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["dtype"] = dtype
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def count_parameters(folder: Path) -> int:
    """Elements of the tensors in a model folder; read from the files' headers alone."""
    from safetensors import safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
        total += sum(math.prod(shape) for shape in shapes)
    return total


def _cast(weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors that share memory (tied weights) still share it afterwards."""
    cast: dict[tuple[int, torch.Size], torch.Tensor] = {}
    return {
        name: cast.setdefault((tensor.data_ptr(), tensor.shape), tensor.to(dtype))
        if tensor.is_floating_point()
        else tensor
        for name, tensor in weights.items()
    }
