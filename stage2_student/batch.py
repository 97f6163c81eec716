"""What a training step gets: rows of tokens, and the teacher's signals at their trained positions.

Shapes: B rows, T places of a row, N trained positions, W elements of a hidden state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from stage2_student.targets import Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A sample inside a batch.

    Attributes:
        id: its sample id.
        source: the corpus and slice it came from.
        row: the row of the batch it stands in.
        start: its first token's place in that row.
        length: its tokens.
        targets: [from, to) of its positions among the batch's targets.
    """

    id: str
    source: str
    row: int
    start: int
    length: int
    targets: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """One micro-batch of one rank; all of it may be padding, when a step has too few rows.

    Attributes:
        input_ids: int64 [B, T]; 0 where padded.
        position_ids: int64 [B, T], from 0 in every document; 0 where padded.
        document_ids: int64 [B, T], 1, 2, … in every row; 0 where padded. A token may attend to
            earlier tokens of its own document only.
        targets: the teacher at N positions; `rows_N` indexes the flattened [B · T].
        states: the teacher's hidden states there, by layer, float32 [N, W].
        documents: the samples, in the order of the targets.
        epoch: from 0.
        step: the step of the epoch this is a part of, from 0.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    document_ids: torch.Tensor
    targets: Targets
    documents: tuple[Document, ...]
    epoch: int
    step: int
    states: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> "Batch":
        """The same on another device."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            document_ids=self.document_ids.to(device),
            targets=self.targets.to(device),
            states={layer: states.to(device) for layer, states in self.states.items()},
        )
