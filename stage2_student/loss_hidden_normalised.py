"""Mean squared error between hidden states, every channel in units of the teacher's own spread.

    L = (1/W) · Σ_w ((s_w − t_w) / σ_w)²

t being the teacher's state, s the student's, after the projector where there is one, and σ_w the
standard deviation of the teacher's channel w over tokens of the dump (`state_spread.py`). A student
that knows each channel's mean and nothing else has 1, so it reads as the share of the teacher's
variance that is not explained yet; no channel counts more for being large. Source of the idea:
whitened features as targets, Wei et al. 2022, arXiv:2205.14141, there with each token's own mean
and spread; over tokens, as here, a channel that is large everywhere does not drown the others.
"""

import torch

from stage2_student.state_signals import StateSignals


def hidden_normalised(states: StateSignals) -> torch.Tensor:
    """[N] mean squared error of each position, in units of variance."""
    difference_NW = (states.student_NW - states.teacher_NW) / states.spread_W
    return difference_NW.square().mean(dim=1)
