"""Hidden states of chosen layers, kept by hooks while a transformers body runs.

transformers' own `output_hidden_states` keeps every layer's states, and none of the last layer
before the final norm. Ids are those of `schemas/hidden_layers.py`; only the layers asked for cost
memory. What the hooks give is proved against transformers' own numbering.

Shapes: B sequences, T positions, D hidden width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from schemas.errors import ModelError
from schemas.hidden_layers import LAST
from stage1_teacher.hidden_policy import check_layers

_LENGTH = 12


@contextmanager
def recording(model: Any, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Inside, every run of the model's body puts its states there: by layer, bfloat16 [B, T, D].

    Raises:
        ConfigError: a layer is beyond the model.
        ModelError: the model's layers cannot be told.
    """
    found: dict[str, Tensor] = {}
    modules = decoder_layers(model) if set(layers) - {LAST} else torch.nn.ModuleList()
    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(_hooked(model, modules, layer, found).remove)
        yield found


def decoder_layers(model: Any) -> torch.nn.ModuleList:
    """The model's list of decoder layers.

    Raises:
        ModelError: there is no such list, or several.
    """
    count = model.config.get_text_config().num_hidden_layers
    named = model.base_model.named_modules()
    lists = {n: m for n, m in named if isinstance(m, torch.nn.ModuleList) and len(m) == count}
    outer = [n for n in lists if not any(n != o and n.startswith(f"{o}.") for o in lists)]
    if len(outer) != 1:
        raise ModelError(
            f"{type(model).__name__} has {len(outer)} lists of {count} layers, and exactly one is "
            "needed for hidden states. Leave out --hidden-layers, or give another architecture."
        )
    return lists[outer[0]]


@torch.inference_mode()
def prove_layers(model: Any, layers: Sequence[str]) -> None:
    """Compares the hooks' states with transformers' own, by its numbering.

    transformers has "last" where we have the last layer's output; so that what a layer's hook sees
    is its output and nothing else, the layer before the last one is always compared, too.

    Raises:
        ConfigError: a layer is beyond the model.
        ModelError: they differ.
    """
    count = len(decoder_layers(model)) if set(layers) - {LAST} else 0
    check_layers(layers, count)
    asked = {*layers, *([str(count - 1)] if count else [])} - {str(count)} | {LAST}
    size = int(model.get_input_embeddings().weight.shape[0])
    ids_BT = (torch.arange(1, 2 * _LENGTH + 1, device=model.device) * 7919 % size).view(2, _LENGTH)
    with recording(model, sorted(asked)) as found:
        theirs = model.base_model(input_ids=ids_BT, use_cache=False, output_hidden_states=True)
    states = getattr(theirs, "hidden_states", None) or ()
    for layer in asked:
        index = -1 if layer == LAST else int(layer)
        if index >= len(states) or not torch.equal(found[layer], _copied(states[index])):
            raise ModelError(
                f"what potstill sees as hidden state {layer} of {type(model).__name__} is not what "
                "transformers gives. Leave out --hidden-layers; please report the architecture."
            )


def _hooked(
    model: Any, modules: torch.nn.ModuleList, layer: str, found: dict[str, Tensor]
) -> torch.utils.hooks.RemovableHandle:
    keep = _keeper(layer, found)
    if layer == LAST:
        module: torch.nn.Module = model.base_model
        return module.register_forward_hook(lambda _, __, out: keep(out.last_hidden_state))
    check_layers([layer], len(modules))
    if layer == "0":
        return modules[0].register_forward_pre_hook(
            lambda _, args, words: keep(args[0] if args else words["hidden_states"]),
            with_kwargs=True,
        )
    return modules[int(layer) - 1].register_forward_hook(
        lambda _, __, out: keep(out[0] if isinstance(out, tuple) else out)
    )


def _keeper(layer: str, found: dict[str, Tensor]) -> Callable[[Tensor], None]:
    def keep(states_BTD: Tensor) -> None:
        found[layer] = _copied(states_BTD)

    return keep


def _copied(states_BTD: Tensor) -> Tensor:
    """A copy, since a later layer may add to the tensor in place."""
    return states_BTD.to(torch.bfloat16, copy=True)
