"""What the student's hidden states are, found out once on the model at hand and not taken on trust.

Architectures differ in what their layers give. Shapes: B rows (one), T places, D hidden width.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from schemas.errors import ModelError
from schemas.hidden_layers import LAST
from stage2_student.forward import hidden_states
from stage2_student.student_states import decoder_layers, hook

_LENGTH = 7


@torch.no_grad()
def state_widths(model: Any, layers: Sequence[str]) -> dict[str, int]:
    """The width of each layer's states, found by running the model.

    Raises:
        ConfigError: a layer is beyond the model.
        ModelError: what a layer gives is not hidden states, or a later layer changes it in place.
    """
    own, found = [layer for layer in layers if layer != LAST], dict[str, tuple[Any, Any]]()
    modules = decoder_layers(model) if own else torch.nn.ModuleList()

    def copying(layer: str) -> Callable[[Any], None]:
        return lambda states: found.update({layer: (states, _copy(states))})

    ids_BT = torch.arange(1, _LENGTH + 1, device=model.get_input_embeddings().weight.device)[None]
    with ExitStack() as hooks:
        for layer in own:
            hooks.callback(hook(modules, layer, copying(layer)).remove)
        last_BTD = hidden_states(model, ids_BT, None)
    found[LAST] = last_BTD, last_BTD
    return {layer: _width(model, layer, *found[layer]) for layer in layers}


def _copy(states: Any) -> Any:
    return states.clone() if isinstance(states, torch.Tensor) else None


def _width(model: Any, layer: str, states: Any, copy: Any) -> int:
    shape = tuple(getattr(states, "shape", ()))
    if len(shape) != 3 or shape[:2] != (1, _LENGTH) or not torch.equal(states, copy):
        raise ModelError(
            f"potstill cannot tell the hidden states of layer {layer} of {type(model).__name__}: "
            "what the layer gives is something else, or changed afterwards. Leave out the losses "
            "on hidden states, or take last:last alone."
        )
    return int(states.shape[2])
