"""A smaller student carved out of a checkpoint: some of its decoder layers, and all the rest.

The kept layers' tensors are read one by one from the checkpoint and renamed, and a model of the
smaller configuration takes them; the checkpoint's other layers are never in memory.

Shapes: n layers of the checkpoint.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from schemas.errors import ConfigError, ModelError

_INDEX = "model.safetensors.index.json"
_PER_LAYER = re.compile(r"layer|block|pattern|type")
_INDICES = re.compile(r"^(mlp_only_layers|.*layer_(ids|idxs?|indices))$")


def carved_config(config: Any, layers: Sequence[int], list_name: str) -> Any:
    """The configuration of the carved model: number of layers, and every per-layer list, adapted.

    Args:
        config: the checkpoint's; left as it is.
        layers: the kept layers, ascending.
        list_name: name of the model's list of decoder layers, for messages.

    Raises:
        ConfigError: a layer that the checkpoint does not have.
        ModelError: the configuration names layers by number, in a way that is not known here.
    """
    text = config.get_text_config()
    count = text.num_hidden_layers
    wrong = [layer for layer in layers if layer >= count]
    if wrong:
        raise ConfigError(
            f"the checkpoint has {count} layers ({list_name}.0 to {list_name}.{count - 1}); "
            f"student_layers has {wrong[0]}. Choose among 0 to {count - 1}."
        )
    values = config.to_dict()
    carved = type(config).from_dict(values)
    text = carved.get_text_config()
    for name, value in text.to_dict().items():
        if isinstance(value, list) and len(value) == count and _PER_LAYER.search(name):
            setattr(text, name, [value[layer] for layer in layers])
        elif value and _INDICES.match(name):
            raise ModelError(
                f"the checkpoint's configuration names layers by number ({name}), which carving "
                "does not renumber. Train the whole checkpoint, or carve another architecture."
            )
    text.num_hidden_layers = len(layers)
    return carved


def layer_list(model: Any) -> str:
    """The dotted name of a model's list of decoder layers, such as `model.layers`.

    Raises:
        ModelError: there is no such list, or several.
    """
    count = model.config.get_text_config().num_hidden_layers
    kind = torch.nn.ModuleList
    found = [str(n) for n, m in model.named_modules() if isinstance(m, kind) and len(m) == count]
    outer = [n for n in found if not any(n != o and n.startswith(f"{o}.") for o in found)]
    if len(outer) != 1:
        raise ModelError(
            f"{type(model).__name__} has {len(outer)} lists of {count} layers, and exactly one is "
            "needed to carve or shard it. Train the whole checkpoint, or take another architecture."
        )
    return outer[0]


def kept_tensors(
    folder: Path, layers: Sequence[int], list_name: str
) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors of the kept layers under their new numbers, and those of no layer, one by one.

    Raises:
        ModelError: the folder has no safetensors files.
    """
    from safetensors import safe_open

    numbers = {old: new for new, old in enumerate(layers)}
    pattern = re.compile(rf"^(|.*?\.)({re.escape(list_name.rpartition('.')[2])})\.(\d+)\.(.*)$")
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a dict: it cannot be iterated
                name = _renamed(key, pattern, numbers)
                if name is not None:
                    yield name, tensors.get_tensor(key)


def weight_files(folder: Path) -> list[Path]:
    """The checkpoint's safetensors files, by name.

    Raises:
        ModelError: there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"{folder} has no *.safetensors, which carving reads. Save the checkpoint once with "
            "save_pretrained of a current transformers."
        )
    return files


def _renamed(key: str, pattern: re.Pattern[str], numbers: dict[int, int]) -> str | None:
    """The tensor's name in the carved model; None for one of a layer that is left out."""
    match = pattern.match(key)
    if match is None:
        return key
    prefix, layers, number, rest = match.groups()
    new = numbers.get(int(number))
    return None if new is None else f"{prefix}{layers}.{new}.{rest}"
