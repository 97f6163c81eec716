"""Every loss on hidden states on one screen.

A loss is a pure function of both models' states at N positions (`state_signals.py`). To add one:
one file `loss_hidden_<name>.py` with the formula and its source, one entry here, its twin in the
tests, one line in the docs' table.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from stage2_student.loss_hidden_cosine import hidden_cosine
from stage2_student.loss_hidden_mse import hidden_mse
from stage2_student.loss_hidden_normalised import hidden_normalised
from stage2_student.state_signals import StateSignals


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenLoss:
    """One loss on hidden states.

    Attributes:
        compute: both models' states → [N] loss per position.
        spread: whether it reads the spread of the teacher's channels.
    """

    compute: Callable[[StateSignals], torch.Tensor]
    spread: bool = False


HIDDEN_LOSSES: dict[str, HiddenLoss] = {
    "hidden_mse": HiddenLoss(compute=hidden_mse),
    "hidden_cosine": HiddenLoss(compute=hidden_cosine),
    "hidden_normalised": HiddenLoss(compute=hidden_normalised, spread=True),
}
