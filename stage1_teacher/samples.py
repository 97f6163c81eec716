"""What stage one passes along: a sample going into an engine, and what the engine saw of it.

Shapes: L tokens of the sample, P captured positions, T temperatures of the grid, E kept entries
over all positions, S tail draws over all positions, D hidden width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What the tokens [start, end) of a sample are: text, system, prompt, response, ….

    `kind` is one of the words of FORMAT.md section "Segments".
    """

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sequence exactly as the teacher will see it.

    Attributes:
        id: stable and unique in the dump.
        source: corpus and slice.
        input_ids: [L] token ids, special tokens and chat template included.
        segments: half-open token spans covering the sequence, in order.
        captured: half-open, ordered, disjoint spans of positions that carry signals; position t
            predicts token t+1, so the last position of a sequence is never captured.
        texts: values of the optional text columns, by column name; an unknown verdict is None.
    """

    id: str
    source: str
    input_ids: Ints
    segments: tuple[Segment, ...]
    captured: tuple[tuple[int, int], ...]
    texts: Mapping[str, str | bool | None] = field(default_factory=dict)

    @property
    def positions(self) -> Ints:
        """[P] the captured positions, ascending."""
        spans = [np.arange(start, end, dtype=np.int32) for start, end in self.captured]
        return np.concatenate(spans) if spans else np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ragged:
    """Lists of different length, one per captured position: `values[offsets[p]:offsets[p+1]]`.

    Attributes:
        offsets: [P+1] ascending, starting at 0.
        ids: [E] token ids.
        logits: [E] logit minus the position's largest logit, not yet rounded.
    """

    offsets: Offsets
    ids: Ints
    logits: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What a teacher gave at the captured positions of one sample.

    Attributes:
        topk: the kept entries, most probable first, ties by lowest id.
        tail: the tail sample, in order of token id; a draw may repeat.
        tail_logmass: [P, T] log probability outside the kept entries, per temperature.
        max_logit: [P] the largest logit, softcapping and scaling applied.
        token_logprobs: [P] log-probability of the realised next token at temperature 1.
        hidden: per layer name [L, D] float32 or bfloat16-as-uint16 states of *all* positions.
    """

    topk: Ragged
    tail: Ragged
    tail_logmass: Floats
    max_logit: Floats
    token_logprobs: Floats
    hidden: Mapping[str, npt.NDArray[np.uint16]] = field(default_factory=dict)
