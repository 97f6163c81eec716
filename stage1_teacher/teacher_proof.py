"""Proves at load that what potstill computes of a teacher is what the teacher itself says.

An architecture with a head transform that we do not know, or one that looks ahead into padding,
would give a dump that is wrong and looks right. Three forward passes over a few tokens rule it out.

Shapes: B batch, T positions, D hidden width, V vocabulary.
"""

from typing import Any, cast

import torch
from torch import Tensor

from schemas.errors import ModelError
from stage1_teacher.output_head import OutputHead

_LENGTH = 12
_SHORT = 7
_TYPICAL_LOGIT = 32.0
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 2e-2, torch.float16: 5e-3}
_NOISE = {torch.float32: 1e-2, torch.bfloat16: 0.25, torch.float16: 0.1}


def prove_teacher(model: Any, head: OutputHead) -> None:
    """Compares body, head and transform with the model's own logits, and padded with alone.

    Raises:
        ModelError: they differ.
    """
    ids_BT = _token_ids(model)
    with torch.inference_mode():
        hidden_BTD = body_states(model, ids_BT)
        factor = _factor(head, hidden_BTD)
        ours = _our_logits(head, hidden_BTD * factor)
        theirs = _their_logits(model, ids_BT, factor)
        _same_logits(model, ours, theirs)
        alone = _our_logits(head, body_states(model, ids_BT[1:, :_SHORT]))
        padded = _our_logits(head, hidden_BTD)[1:, :_SHORT]
    _same_padded(model, alone, padded)


def body_states(model: Any, ids_BT: Tensor) -> Tensor:
    """The hidden states that go into the head, right padding in place and no attention mask.

    Raises:
        ModelError: the model has no body apart from its head.
    """
    states = getattr(model.base_model(input_ids=ids_BT, use_cache=False), "last_hidden_state", None)
    if states is None or model.base_model is model:
        raise ModelError(
            f"{type(model).__name__} has no body that gives hidden states without its head. "
            "Give another architecture."
        )
    return cast(Tensor, states)


def proof_prompts(model: Any) -> tuple[Tensor, Tensor]:
    """A longer and a shorter sequence of ids that any model can read."""
    long_T, short_T = _token_ids(model)
    return long_T, short_T[:_SHORT]


def check_left_padding(model: Any, head: OutputHead, alone_ND: Tensor, padded_ND: Tensor) -> None:
    """Compares the head's inputs of a prompt alone with those beside a longer one.

    Raises:
        ModelError: they differ.
    """
    alone, padded = (_our_logits(head, states[None])[0] for states in (alone_ND, padded_ND))
    worst = _spread(alone, padded)
    if worst > _NOISE[model.dtype]:
        raise ModelError(
            f"padding on the left changes what {type(model).__name__} says after it (by "
            f"{worst:.2g} of the logits' spread), so prompts of different lengths cannot share a "
            "batch. Give --batch-tokens 1: they are answered one after another."
        )


def _token_ids(model: Any) -> Tensor:
    """Two rows of ids spread over the vocabulary; the second one's end stands for padding."""
    count = int(model.get_input_embeddings().weight.shape[0])
    numbers = torch.arange(1, 2 * _LENGTH + 1, device=model.device)
    return (numbers * 7919 % count).view(2, _LENGTH)


def _factor(head: OutputHead, hidden_BTD: Tensor) -> float:
    """The power of two that brings a tiny random model's logits to where softcapping bites."""
    largest = (hidden_BTD.flatten(0, 1) @ head.weight_VD.t()).abs().max().float()
    exponent = torch.log2(_TYPICAL_LOGIT / largest).round().clamp(min=0)
    return float(torch.exp2(exponent))


def _our_logits(head: OutputHead, hidden_BTD: Tensor) -> Tensor:
    logits_NV = hidden_BTD.new_empty(hidden_BTD.shape[0] * hidden_BTD.shape[1], head.size)
    head.logits(hidden_BTD.flatten(0, 1), logits_NV)
    return logits_NV.view(*hidden_BTD.shape[:2], -1).float()


def _their_logits(model: Any, ids_BT: Tensor, factor: float) -> Tensor:
    """The model's own logits, the head's input multiplied by `factor`."""
    module = model.get_output_embeddings()
    hook = module.register_forward_pre_hook(lambda _, args: (args[0] * factor, *args[1:]))
    try:
        return cast(Tensor, model(input_ids=ids_BT, use_cache=False).logits.float())
    finally:
        hook.remove()


def _same_logits(model: Any, ours: Tensor, theirs: Tensor) -> None:
    if ours.shape == theirs.shape and ours.isfinite().all():
        worst = float((ours - theirs).abs().max() / theirs.abs().max())
        if worst <= _ROUNDING[model.dtype]:
            return
        found = f"the largest difference is {worst:.2g} of the largest logit"
    else:
        found = f"shapes {tuple(ours.shape)} and {tuple(theirs.shape)}, or numbers not finite"
    raise ModelError(
        f"the logits that potstill computes of {type(model).__name__} are not the model's own: "
        f"{found}. Its head does something that potstill does not know; "
        "please report the architecture, and give another teacher meanwhile."
    )


def _same_padded(model: Any, alone: Tensor, padded: Tensor) -> None:
    worst = _spread(alone, padded)
    if worst > _NOISE[model.dtype]:
        raise ModelError(
            f"padding on the right changes what {type(model).__name__} says before it (by "
            f"{worst:.2g} of the logits' spread): it is no causal model. Give one that is."
        )


def _spread(alone: Tensor, padded: Tensor) -> float:
    """The largest mean difference at a position, in units of the logits' spread."""
    return float((alone - padded).abs().mean(-1).max() / alone.std().clamp(min=1e-9))
