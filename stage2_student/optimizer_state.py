"""Optimizer and learning rate in a checkpoint: whole, and by the names of the parameters.

So a training goes on with another number of processes, and with shards where copies were or the
other way round; transformers lets the wrapping decide what the file looks like. The first rank
writes, and the state is never whole in the memory of an accelerator.
"""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from stage2_student.zero2 import gathered_state, is_zero2, spread_state

OPTIMIZER = "optimizer.pt"
RATE = "scheduler.pt"


def save_optimizer(model: Any, optimizer: Any, rate: Any, folder: Path) -> None:
    """Writes the state of all ranks' parameters; every rank must call this.

    Args:
        model: as it is wrapped for training.
        optimizer: a torch optimizer of its parameters.
        rate: the learning rate's scheduler.
        folder: exists.
    """
    if is_zero2(optimizer):
        state = gathered_state(model, optimizer)
    else:
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = dict(get_optimizer_state_dict(model, optimizer, options=options))
    if _first():
        torch.save(state, folder / OPTIMIZER)
        torch.save(rate.state_dict(), folder / RATE)


def load_optimizer(model: Any, optimizer: Any, rate: Any, folder: Path) -> None:
    """Goes on from where `save_optimizer` left off; every rank must call this."""
    if is_zero2(optimizer):
        spread_state(model, optimizer, _read(folder / OPTIMIZER))
    else:
        state = _read(folder / OPTIMIZER) if _first() else {}
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=_together())
        set_optimizer_state_dict(model, optimizer, state, options=options)
    rate.load_state_dict(_read(folder / RATE))


def _read(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def _first() -> bool:
    return not _together() or dist.get_rank() == 0
