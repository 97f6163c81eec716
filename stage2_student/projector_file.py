"""Learned projectors as a file of their own: OUT/projector/projector.safetensors.

Not beside the student's weights: vLLM and others load every safetensors file of a model's folder. A
tensor `student_S_teacher_T` [W, D] takes the student's state s at layer S to the teacher's at T as
s · tensorᵀ.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from schemas.errors import DamagedError, MismatchError
from stage2_student.hidden_matching import NAME, HiddenMatching

FOLDER = "projector"
FILE = "projector.safetensors"

_PREFIX = f"{NAME}.maps."
_SUFFIX = ".weight"

Tensors = dict[str, torch.Tensor]


def taken_apart(weights: Mapping[str, torch.Tensor]) -> tuple[Tensors, Tensors]:
    """A training student's state dict as (the student's own, the projectors by their names)."""
    own = {name: value for name, value in weights.items() if not name.startswith(f"{NAME}.")}
    projectors = {
        name.removeprefix(_PREFIX).removesuffix(_SUFFIX): value
        for name, value in weights.items()
        if name.startswith(_PREFIX)
    }
    return own, projectors


def write_projectors(folder: Path, projectors: Mapping[str, torch.Tensor]) -> None:
    """Writes them below a run folder or a checkpoint; nothing where there are none."""
    if not projectors:
        return
    from safetensors.torch import save_file

    (folder / FOLDER).mkdir(exist_ok=True)
    tensors = {name: value.float().contiguous().cpu() for name, value in projectors.items()}
    save_file(tensors, folder / FOLDER / FILE, metadata={"format": "pt"})


def named_projectors(checkpoint: Path) -> Tensors:
    """Those of a checkpoint, by their names among a training student's parameters.

    Raises:
        DamagedError: the file cannot be read.
    """
    path = checkpoint / FOLDER / FILE
    found = _read(path) if path.exists() else {}
    return {f"{_PREFIX}{name}{_SUFFIX}": value for name, value in found.items()}


def load_projectors(checkpoint: Path, matching: HiddenMatching) -> None:
    """Fills the projectors with what a checkpoint holds.

    Raises:
        DamagedError: it holds none, or the file cannot be read.
        MismatchError: they are others, or have other shapes; both are shown.
    """
    if not matching.maps:
        return
    found = _read(checkpoint / FOLDER / FILE)
    here = {name: linear.get_parameter("weight") for name, linear in matching.maps.items()}
    if _shapes(found) != _shapes(here):
        raise MismatchError(
            f"the projectors in {checkpoint} are not those of this training: there "
            f"{_shapes(found)}, here {_shapes(here)}. Give the loss and the dump of the first run."
        )
    with torch.no_grad():
        for name, weight in here.items():
            weight.copy_(found[name])


def _read(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: Tensors = load_file(path)
        return found
    except (OSError, SafetensorError) as error:
        raise DamagedError(
            f"{path} cannot be read: {error}. Without it the losses on hidden states cannot go on; "
            "delete that checkpoint, and --resume takes the one before it."
        ) from error


def _shapes(tensors: Mapping[str, torch.Tensor]) -> str:
    return ", ".join(f"{name} {list(tensors[name].shape)}" for name in sorted(tensors)) or "none"
