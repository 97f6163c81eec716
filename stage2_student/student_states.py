"""The student's hidden states at chosen layers, kept by hooks while its body runs.

Ids are those of `schemas/hidden_layers.py`; "last" needs no hook, it goes into the output head.
Only the layers asked for are kept, and nothing is computed in a hook: under gradient checkpointing
it runs inside what is computed again, and there everything must be as it was.

Shapes: B rows, T places, D hidden width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from schemas.errors import ConfigError
from schemas.hidden_layers import LAST
from stage2_student.carve import layer_list

States = dict[str, torch.Tensor]
"""[B, T, D] by layer."""


class StudentStates:
    """Keeps states while somebody records, and only then: not when they are computed again."""

    def __init__(self) -> None:
        self._found: States | None = None

    @contextmanager
    def hooked(self, model: Any, layers: Sequence[str]) -> Iterator[None]:
        """Inside, the model's layers are listened to; before the model is wrapped in anything.

        Raises:
            ConfigError: a layer is beyond the model.
            ModelError: the model's layers cannot be told.
        """
        own = [layer for layer in layers if layer != LAST]
        modules = decoder_layers(model) if own else torch.nn.ModuleList()
        with ExitStack() as hooks:
            for layer in own:
                hooks.callback(hook(modules, layer, self._keeper(layer)).remove)
            yield

    @contextmanager
    def recording(self) -> Iterator[States]:
        """Inside, every run of the body puts its states there."""
        self._found = {}
        try:
            yield self._found
        finally:
            self._found = None

    def _keeper(self, layer: str) -> Callable[[Any], None]:
        def keep(states_BTD: Any) -> None:
            if self._found is not None:
                self._found[layer] = states_BTD

        return keep


def decoder_layers(model: Any) -> Any:
    """The model's list of decoder layers."""
    return model.get_submodule(layer_list(model))


def hook(
    modules: Any, layer: str, keep: Callable[[Any], None]
) -> torch.utils.hooks.RemovableHandle:
    """Lets `keep` see the states of a layer of these whenever it runs.

    Raises:
        ConfigError: there is no such layer.
    """
    number, count = int(layer), len(modules)
    if number > count:
        raise ConfigError(
            f"hidden layer {layer} is beyond the student, whose states are 0 (embeddings) to "
            f"{count}, and last (after the final norm). Give pairs student:teacher within that."
        )
    if number == 0:
        found: torch.utils.hooks.RemovableHandle = modules[0].register_forward_pre_hook(
            lambda _, args, words: keep(args[0] if args else words["hidden_states"]),
            with_kwargs=True,
        )
        return found
    found = modules[number - 1].register_forward_hook(
        lambda _, __, out: keep(out[0] if isinstance(out, tuple) else out)
    )
    return found
