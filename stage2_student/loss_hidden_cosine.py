"""Cosine distance between hidden states.

    L = 1 − ⟨s, t⟩ / (‖s‖ · ‖t‖)

t being the teacher's state, s the student's, after the projector where there is one. Directions
alone count, as a norm reads nothing else of a state; between 0 and 2. It is half the squared
distance of the normalised states (Sun et al. 2019, "Patient knowledge distillation",
arXiv:1908.09355). Source: Sanh et al. 2019, "DistilBERT", arXiv:1910.01108.
"""

import torch

from stage2_student.state_signals import StateSignals


def hidden_cosine(states: StateSignals) -> torch.Tensor:
    """[N] cosine distance of each position."""
    return 1 - torch.cosine_similarity(states.student_NW, states.teacher_NW, dim=1, eps=1e-8)
