"""Weights as a process holds them: whole, or (FSDP) one shard of them."""

from collections.abc import Mapping

import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """What of a tensor this process holds; shares its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor; every rank must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def tied_again(
    model: torch.nn.Module, weights: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Gathered weights, in which tied ones became two, as one again: so they are saved once."""
    first: dict[int, torch.Tensor] = {}
    one = {
        name: first.setdefault(id(parameter), weights[name])
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if name in weights
    }
    return {**weights, **one}


def reshard(model: torch.nn.Module) -> None:
    """Drops what a forward pass gathered: weights that were changed are gathered anew."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@torch.no_grad()
def put_whole(tensor: torch.Tensor, values: torch.Tensor) -> None:
    """Fills a tensor from all of its values; every rank must call this."""
    if isinstance(tensor, DTensor):
        values = distribute_tensor(
            values.to(tensor.device), tensor.device_mesh, tensor.placements
        ).to_local()
    local_part(tensor).copy_(values)
