"""Makes a model that vLLM has loaded give the states between its layers.

vLLM has a switch for it, meant for speculative decoding: models that support EAGLE-3 add chosen
states to what a step returns. It is set after loading, so the engine runs without compilation.
"""

from typing import Any

from torch import Tensor

from schemas.errors import ConfigError, ModelError
from stage1_teacher.hidden_policy import check_layers


def expose_layers(runner: Any, layers: list[str]) -> None:
    """From now on steps come with these states, in ascending order.

    Raises:
        ModelError: vLLM's implementation of the teacher cannot give them.
        ConfigError: a layer is beyond the teacher, or the layers are on several ranks.
    """
    if not layers:
        return
    _check_one_stage(runner)
    model = runner.get_model()
    check_layers(layers, int(runner.model_config.hf_text_config.num_hidden_layers))
    if not hasattr(model, "set_aux_hidden_state_layers"):
        raise ModelError(
            f"vLLM's {type(model).__name__} gives no states between its layers. "
            "Give --hidden-layers last, or --engine transformers."
        )
    model.set_aux_hidden_state_layers(tuple(int(layer) for layer in layers))
    for module in model.modules():
        if hasattr(module, "_maybe_add_hidden_state"):
            _copy_inputs(module)
    runner.use_aux_hidden_state_outputs = True


def _check_one_stage(runner: Any) -> None:
    """What goes from rank to rank has no place for further states."""
    if int(runner.parallel_config.pipeline_parallel_size) > 1:
        raise ConfigError(
            "hidden states between layers are not captured across a pipeline of ranks. "
            "Give --tensor-parallel-size instead of --pipeline-parallel-size, or "
            "--hidden-layers last."
        )


def _copy_inputs(module: Any) -> None:
    """Copies states that are no sum: a fused norm may write the next layer's sum over them."""
    add = module._maybe_add_hidden_state

    def add_copy(
        found: list[Tensor], layer: int, hidden: Tensor, residual: Tensor | None
    ) -> list[Tensor]:
        before = len(found)
        found = add(found, layer, hidden, residual)
        if residual is None and len(found) > before:
            found[-1] = found[-1].clone()
        return found

    module._maybe_add_hidden_state = add_copy
