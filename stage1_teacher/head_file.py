"""A teacher's output head as its files hold it, read in blocks of rows: no model is loaded.

Shapes: V rows of the head, D hidden width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from schemas.errors import ModelError
from stage1_teacher.output_head import OutputHead
from stage1_teacher.teacher import read_config, teacher_skeleton

_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFile:
    """Where a head lies.

    Attributes:
        file: a safetensors file.
        name: the matrix's name in it.
        bias: the bias's file and name; None without one.
        shape: V and D.
        scale: see `OutputHead`.
        softcap: see `OutputHead`.
    """

    file: Path
    name: str
    bias: tuple[Path, str] | None
    shape: tuple[int, int]
    scale: float
    softcap: float | None

    def blocks(self) -> Iterator[Tensor]:
        """The matrix, in the files' own dtype, a few thousand rows at a time."""
        from safetensors import safe_open

        with safe_open(self.file, "pt") as tensors:
            rows = tensors.get_slice(self.name)
            for start in range(0, self.shape[0], _ROWS):
                yield rows[start : start + _ROWS]

    def read_bias(self) -> Tensor | None:
        """The bias, where there is one."""
        return None if self.bias is None else _tensor(*self.bias)


def find_head(folder: Path, trust_remote_code: bool = False) -> HeadFile:
    """Finds the head of the teacher in `folder` by what its configuration makes.

    Raises:
        ModelError: the files do not hold it as a plain matrix.
    """
    model = teacher_skeleton(folder, read_config(folder, trust_remote_code), trust_remote_code)
    head = OutputHead.of(model)
    module = model.get_output_embeddings()
    wanted = _names(model, module.weight)
    if getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        wanted += _names(model, model.get_input_embeddings().weight)
    held = _held(folder)
    prefix = f"{model.base_model_prefix}."
    names_there = [n for name in wanted for n in (name, name.removeprefix(prefix)) if n in held]
    shape = (int(module.weight.shape[0]), int(module.weight.shape[1]))
    if not names_there or held[names_there[0]][1] != shape:
        raise ModelError(
            f"the output head of {folder} is not in its safetensors files as a plain matrix of "
            f"{shape[0]:,} × {shape[1]:,} (looked for {', '.join(dict.fromkeys(wanted))}), so no "
            "gold sample can be made. Leave out --gold."
        )
    name = names_there[0]
    bias = None if module.bias is None else _names(model, module.bias)[0]
    if bias is not None and bias not in held:
        raise ModelError(
            f"the bias of the output head of {folder} is not in its files, so no gold sample can "
            "be made. Leave out --gold."
        )
    return HeadFile(
        file=held[name][0],
        name=name,
        bias=None if bias is None else (held[bias][0], bias),
        shape=shape,
        scale=head.scale,
        softcap=head.softcap,
    )


def _names(model: Any, parameter: Tensor) -> list[str]:
    """Every name of a parameter: a tied one has several, and files hold one of them."""
    named = model.named_parameters(remove_duplicate=False)
    return [name for name, value in named if value is parameter]


def _held(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """Every floating tensor of the files: where it is, and its shape."""
    from safetensors import safe_open

    found: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (it is no dictionary)
                tensor = tensors.get_slice(name)
                if tensor.get_dtype() in ("F32", "F16", "BF16"):
                    found[name] = (path, tuple(tensor.get_shape()))
    return found


def _tensor(path: Path, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(path, "pt") as tensors:
        found: Tensor = tensors.get_tensor(name)
    return found.to(torch.float32)
