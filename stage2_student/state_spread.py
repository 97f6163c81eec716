"""How much each channel of the teacher's hidden states varies: the units of `hidden_normalised`.

Taken over the first tokens of the dump, so that it is the same on every rank and after a resume,
and for any batch.

Shapes: N tokens, W elements of a stored state.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from schemas import layout
from schemas.codec_hidden import Floats
from schemas.dump_folder import DumpFolder
from schemas.hidden_states import first_state_problem, layer_states, state_columns
from schemas.shard_reading import ShardFault

_TOKENS = 16384
"""Enough for a standard deviation within a few percent, and read in a second."""

_SMALLEST = 1e-2
"""Of the median channel's: one that hardly varies would decide the loss by its noise."""


def state_spreads(dump: DumpFolder, layers: Sequence[str]) -> dict[str, Floats]:
    """[W] the standard deviation of every channel, by layer.

    Raises:
        DamagedError: a shard cannot be read.
    """
    return {layer: _spread(np.concatenate(list(_states(dump, layer)))) for layer in layers}


def _spread(states_NW: Floats) -> Floats:
    found: Floats = states_NW.std(axis=0, dtype=np.float64).astype(np.float32)
    return np.maximum(found, max(_SMALLEST * float(np.median(found)), 1e-12))


def _states(dump: DumpFolder, layer: str) -> Iterator[Floats]:
    """States of the first row groups, in their order."""
    capture, left = dump.manifest.capture, _TOKENS
    for shard in dump.shards:
        file = dump.hidden_file(shard)
        for group in range(file.num_row_groups):
            with dump.reading(f"{layout.HIDDEN}/{shard.name}"):
                table = file.read_row_group(group, columns=state_columns([layer], capture))
                problem = first_state_problem(table, capture)
                if problem:
                    raise ShardFault(f"row group {group}: {problem}")
            states = layer_states(table, layer, capture).values
            yield states[:left]
            left -= len(states)
            if left <= 0:
                return
