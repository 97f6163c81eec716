"""Hidden states on their way from vLLM's worker to the driver: one file per request, in a folder.

A file holds rows of [layers, D] bfloat16 bits, by position from 0. The folder should lie in memory
(/dev/shm); the driver maps a file and unlinks it, so nothing stays behind.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from schemas.errors import DamagedError

Bits = npt.NDArray[np.uint16]


def append_states(
    folder: Path, layers: Sequence[Tensor], fresh: Iterable[tuple[int, int, int]]
) -> None:
    """Appends to each request's file what a step computed of it.

    Args:
        folder: of the files.
        layers: per layer the states of all tokens of the step.
        fresh: key, first row and count of what is new, as in `StepRows`.
    """
    states = torch.stack([layer.bfloat16() for layer in layers], dim=1)
    bits = states.cpu().view(torch.int16).numpy()
    for key, row, count in fresh:
        with (folder / str(key)).open("ab") as file:
            file.write(bits[row : row + count].data)


def take_states(
    folder: Path, key: int, layers: Sequence[str], shape: tuple[int, int]
) -> dict[str, Bits]:
    """The states of a request that has ended, mapped; its file is unlinked.

    Args:
        folder: of the files.
        key: of the request.
        layers: names of the layers, in the order that they were appended in.
        shape: positions that there must be at least, and D.

    Raises:
        DamagedError: there are fewer.
    """
    length, width = shape
    path = folder / str(key)
    held = path.stat().st_size // (2 * len(layers) * width) if path.is_file() else 0
    if held < length:
        raise DamagedError(
            f"vLLM's worker wrote hidden states of {held} of {length} positions. Is {folder} full?"
        )
    mapped = np.memmap(path, np.uint16, "r", shape=(held, len(layers), width))
    path.unlink()
    return {layer: mapped[:length, index] for index, layer in enumerate(layers)}
