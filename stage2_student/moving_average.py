"""A moving average of the student's weights (Polyak & Juditsky 1992), which it can become.

After step s (from 1), with decay d:

    average ← average + (1 − d_s) · (weights − average)        d_s = min(d, (1 + s) / (10 + s))

The smaller d_s of the first steps lets the average leave the untrained weights quickly. It is kept
in float32 and, where the weights are shards (FSDP), as the same shards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from schemas.errors import DamagedError
from stage2_student.whole_tensors import local_part, put_whole, whole_tensor

FILE = "average/average.safetensors"
"""In a checkpoint; in a folder, since others load every safetensors file beside a model's."""


class MovingAverage:
    """The average of the trained parameters of one model."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        """Begins at the model's weights; `model` is as it is wrapped for training."""
        self._decay = decay
        self._parameters = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        self._average = {n: p.detach().clone() for n, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after a step (from 1)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters.items():
            local_part(self._average[name]).lerp_(local_part(parameter), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def put(self) -> None:
        """Gives the model the averaged weights for good."""
        self._exchange()

    def save(self, folder: Path, first: bool) -> None:
        """Writes it into a checkpoint; every rank must call this, the first one writes."""
        from safetensors.torch import save_file

        whole = {name: whole_tensor(tensor) for name, tensor in self._average.items()}
        if first:
            (folder / FILE).parent.mkdir(exist_ok=True)
            save_file({n: t.contiguous().cpu() for n, t in whole.items()}, folder / FILE)

    def load(self, folder: Path) -> None:
        """Goes on from a checkpoint; every rank must call this.

        Raises:
            DamagedError: it holds no average that can be read.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            saved = load_file(folder / FILE)
        except (OSError, SafetensorError) as error:
            raise DamagedError(
                f"{folder / FILE} cannot be read: {error}. Delete that checkpoint, then run the "
                "same command with --resume, which takes the one before it."
            ) from error
        for name, tensor in saved.items():
            put_whole(self._average[name], tensor)

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._parameters.items():
            weights, average = local_part(parameter), local_part(self._average[name])
            kept = weights.clone()
            weights.copy_(average)
            average.copy_(kept)


def averaged(average: MovingAverage | None) -> Any:
    """`average.in_place()`, or nothing where there is no average."""
    from contextlib import nullcontext

    return nullcontext() if average is None else average.in_place()
