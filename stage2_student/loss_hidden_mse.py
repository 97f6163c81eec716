"""Mean squared error between hidden states.

    L = (1/W) · Σ_w (s_w − t_w)²

t being the teacher's state, s the student's, after the projector where there is one. It has the
scale of the states, and a few channels of a transformer are a hundred times as large as the others:
they nearly decide it. Source: Romero et al. 2015, "FitNets", arXiv:1412.6550; for transformers,
Jiao et al. 2020, "TinyBERT", arXiv:1909.10351, with a learned projector.
"""

import torch

from stage2_student.state_signals import StateSignals


def hidden_mse(states: StateSignals) -> torch.Tensor:
    """[N] mean squared error of each position."""
    return (states.student_NW - states.teacher_NW).square().mean(dim=1)
