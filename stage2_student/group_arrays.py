"""The numbers of a row group as flat numpy arrays.

Shapes: R rows, P captured positions of all rows, E entries of all positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.hidden_states import StoredStates
from schemas.row_group import Lists, Offsets


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entries:
    """Entries of every position: those of p are `ids[starts[p]:starts[p+1]]`, `counts[p]` of them.

    Copies in memory that is used again: they live as long as a span, and Arrow would give its own
    back to the system in between and pay for every page anew.
    """

    starts: Offsets
    counts: Offsets
    ids: npt.NDArray[np.int32]
    logits: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupArrays:
    """The numbers of one row group; with tasks a row is several sequences, each counting as one.

    Attributes:
        ids: the rows' sample ids, an Arrow array of strings.
        sources: the same of their sources.
        tokens: [R] lists of token ids.
        positions: [R] lists of trained positions.
        origins: [P] where each position stands among the tokens of all rows as they are stored.
        labels: [P] the realised next token.
        kept: the kept entries.
        tail: the tail sample; None when it was not wanted.
        tail_logmass: per temperature [P].
        token_logprobs: [P] the teacher's log-probability of the label.
        weights: [P] by the label's segment and the row's verdict; None where all weigh 1.
        states: the teacher's hidden states of all stored tokens, by layer.
    """

    ids: pa.Array
    sources: pa.Array
    tokens: Lists
    positions: Lists
    origins: Offsets
    labels: npt.NDArray[np.int32]
    kept: Entries
    tail: Entries | None
    tail_logmass: Mapping[float, npt.NDArray[np.float32]]
    token_logprobs: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32] | None
    states: Mapping[str, StoredStates] = field(default_factory=dict)


def only_positions(arrays: GroupArrays, chosen: npt.NDArray[np.bool_]) -> GroupArrays:
    """The same with only some of the positions."""
    counted = np.concatenate([[0], np.cumsum(chosen)])
    captured = arrays.positions
    return replace(
        arrays,
        positions=Lists(offsets=counted[captured.offsets], values=captured.values[chosen]),
        origins=arrays.origins[chosen],
        labels=arrays.labels[chosen],
        kept=_only_entries(arrays.kept, chosen),
        tail=None if arrays.tail is None else _only_entries(arrays.tail, chosen),
        tail_logmass={t: mass[chosen] for t, mass in arrays.tail_logmass.items()},
        token_logprobs=arrays.token_logprobs[chosen],
        weights=None if arrays.weights is None else arrays.weights[chosen],
    )


def _only_entries(entries: Entries, chosen: npt.NDArray[np.bool_]) -> Entries:
    inside, counts = np.repeat(chosen, entries.counts), entries.counts[chosen]
    return Entries(
        starts=np.concatenate([[0], np.cumsum(counts)]),
        counts=counts,
        ids=entries.ids[inside],
        logits=entries.logits[inside],
    )
