"""What a loss on hidden states may see of both models, at N positions of one pair of layers.

Shapes: N positions, W elements of a stored state.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StateSignals:
    """The states of both models, position by position.

    Attributes:
        student_NW: the student's states after the projector; differentiable.
        teacher_NW: the teacher's states.
        spread_W: the standard deviation of each of the teacher's channels over tokens of the dump;
            ones for a loss that does not read it.
    """

    student_NW: torch.Tensor
    teacher_NW: torch.Tensor
    spread_W: torch.Tensor
