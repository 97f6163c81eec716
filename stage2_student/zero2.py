"""DeepSpeed's ZeRO stage 2: each process holds the student, a shard of gradients and optimizer.

What DeepSpeed is told, and the optimizer's state in and out of its shards, in the form in which
`optimizer_state.py` keeps it: whole, and by the names of the parameters. The weights stay float32;
bfloat16 is autocast inside the forward pass, so gradients are summed in float32 here, too.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch

from schemas.errors import ConfigError

_INSTEAD = "--parallel fsdp shares out more, needs nothing else, and trains the same student"


def zero2_config(bfloat16: bool) -> dict[str, Any]:
    """DeepSpeed's configuration; transformers fills in what is "auto"."""
    return {
        "zero_optimization": {"stage": 2},
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "torch_autocast": {
            "enabled": bfloat16,
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],  # whose gradients would travel in bfloat16
        },
    }


def check_deepspeed(asked: bool) -> None:
    """Checks that DeepSpeed is there if it was asked for, and that nobody else asked for it.

    Raises:
        ConfigError: it is not installed, there is one process, or `accelerate launch` brings a
            configuration of its own.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        raise ConfigError(
            "`accelerate launch` asks for DeepSpeed with a configuration of its own, which "
            "potstill does not read. For ZeRO stage 2 start `scripts/train-gpus train.yaml "
            "--parallel zero2` (torchrun); in place of stage 3 give --parallel fsdp."
        )
    if asked and find_spec("deepspeed") is None:
        raise ConfigError(
            "--parallel zero2 needs DeepSpeed, which is not installed: `pip install deepspeed`. "
            f"{_INSTEAD}."
        )
    if asked and "RANK" not in os.environ:
        raise ConfigError(
            "--parallel zero2 is for several processes, and this is the only one. Start them with "
            "`scripts/train-gpus train.yaml --parallel zero2`, or leave --parallel out."
        )


def is_zero2(optimizer: Any) -> bool:
    """Whether an optimizer is DeepSpeed's around shards of another one."""
    return hasattr(optimizer, "single_partition_of_fp32_groups")


def gathered_state(model: torch.nn.Module, optimizer: Any) -> dict[str, Any]:
    """The state of all ranks' shards, as `get_optimizer_state_dict` gives it; every rank calls."""
    from deepspeed.utils import lazy_init_hp_params_optimizer_state as link
    from deepspeed.utils import safe_get_full_optimizer_state as whole

    state: dict[str, Any] = {}
    groups = []
    for settings, shard, named in _groups(model, optimizer):
        kept = optimizer.optimizer.state[shard]
        link(list(named.values()), shard, optimizer.optimizer.state)  # it did the first group alone
        for name, parameter in named.items():
            state[name] = {
                key: whole(parameter, key).cpu()
                if value.shape == shard.shape
                else value.cpu().clone()
                for key, value in kept.items()  # else all would count their steps in one tensor
            }
        others = {key: value for key, value in settings.items() if key != "params"}
        groups.append({**others, "params": list(named)})
    return {"state": state, "param_groups": groups}


def spread_state(model: torch.nn.Module, optimizer: Any, state: dict[str, Any]) -> None:
    """Puts a whole state into this rank's shards; before the first step, when they have none."""
    from deepspeed.utils import lazy_init_hp_params_optimizer_state as link
    from deepspeed.utils import safe_set_full_optimizer_state as put

    groups = zip(_groups(model, optimizer), state["param_groups"], strict=True)
    for (settings, shard, named), saved in groups:
        settings |= {key: value for key, value in saved.items() if key != "params"}
        first = state["state"][next(iter(named))]
        sharded = [key for key, value in first.items() if value.dim()]
        plain = {key: value.clone() for key, value in first.items() if not value.dim()}
        zeros = {key: torch.zeros_like(shard) for key in sharded}
        optimizer.optimizer.state[shard] = {**plain, **zeros}
        link(list(named.values()), shard, optimizer.optimizer.state)
        for name, parameter in named.items():
            for key in sharded:
                put(parameter, state["state"][name][key].to(shard.device), key)


def _groups(
    model: torch.nn.Module, optimizer: Any
) -> Iterator[tuple[dict[str, Any], torch.Tensor, dict[str, torch.nn.Parameter]]]:
    """(settings, this rank's flat shard, the parameters by name) of each group of parameters."""
    names = {
        parameter: name.removeprefix("module.") for name, parameter in model.named_parameters()
    }
    settings = optimizer.optimizer.param_groups
    shards = optimizer.single_partition_of_fp32_groups
    for group, shard, parameters in zip(settings, shards, optimizer.bit16_groups, strict=True):
        yield group, shard, {names[parameter]: parameter for parameter in parameters}
