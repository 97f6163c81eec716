"""Proofs, made once at the start on the model at hand, that training reads it rightly.

Architectures differ in what lies between the last hidden states and the logits, and in what a token
of a packed row can see. Neither is taken on trust.

Shapes: B rows (one), T places, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from schemas.errors import ModelError
from stage2_student.forward import hidden_states, takes_positions
from stage2_student.logit_transform import LogitTransform

_LENGTH = 7
_TOLERANCE = 1e-4
"""Of the largest value; what fp32 sums in another order may differ by is a hundredth of it."""


@torch.no_grad()
def prove_logits(model: Any, transform: LogitTransform) -> None:
    """Proves that hidden states, head and transform give the model's own logits.

    Raises:
        ModelError: they do not; training would fit another function than the saved model's.
    """
    if model.base_model is model:
        raise ModelError(
            f"{type(model).__name__} does not say which part of it makes its hidden states "
            "(base_model). Take a student of another architecture."
        )
    ids_BT = _ids(model, 0)
    with _evaluating(model):
        own_TV = model(input_ids=ids_BT, use_cache=False).logits[0].float()
        raw_TV = model.get_output_embeddings()(hidden_states(model, ids_BT, None))[0].float()
    if not torch.isfinite(own_TV).all():
        raise ModelError(
            f"{type(model).__name__} gives logits that are not finite: its weights are damaged, or "
            "its training diverged. Take another checkpoint."
        )
    here_TV = transform.cap_(raw_TV * transform.scale)
    if not _same(own_TV, here_TV):
        raise ModelError(
            f"{type(model).__name__} does something to its logits that potstill does not know: "
            f"they differ by up to {float((own_TV - here_TV).abs().max()):.3g}. Take a student of "
            "another architecture."
        )


@torch.no_grad()
def separates_documents(model: Any) -> bool:
    """Whether a document in a packed row gets the hidden states that it gets alone.

    Seen twice, behind two different neighbours: nothing of them may reach it.
    """
    if not takes_positions(model):
        return False
    alone = _ids(model, 0)
    positions = torch.arange(_LENGTH, device=alone.device).repeat(2)[None]
    with _evaluating(model):
        expected = hidden_states(model, alone, None)[0]
        packed = [
            hidden_states(model, torch.cat([_ids(model, seed), alone], dim=1), positions)[0]
            for seed in (1, 2)
        ]
    found = [states[_LENGTH:] for states in packed]
    return _same(found[0], found[1]) and _same(found[0], expected)


def _ids(model: Any, seed: int) -> torch.Tensor:
    """[1, T] token ids that differ from seed to seed at every place."""
    size = model.get_input_embeddings().weight.shape[0]
    step = torch.arange(_LENGTH) * 3 + seed + 5
    ids: torch.Tensor = (step % size)[None].to(model.get_input_embeddings().weight.device)
    return ids


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return bool((left - right).abs().max() <= _TOLERANCE * left.abs().max())


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Dropout off, and on again where it was on."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
