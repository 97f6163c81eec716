"""A student's forward for training: tokens and targets in, a loss out, never logits.

The loss is computed inside the output head's forward, which is called as a module, inside the
student's forward, which is called through its wrapper. So DDP sees the whole step, FSDP2 gathers
the head's weight in its own hook, and the weight may be tied. Targets travel in a plain object that
neither looks into (FSDP2 would cast them to bfloat16).

Shapes: B rows, T places, N trained positions, D hidden width, V vocabulary, L terms of the loss, H
of them on hidden states.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from schemas.hidden_layers import LAST
from stage2_student.batch import Batch
from stage2_student.distillation import distillation_loss
from stage2_student.fused_head import HeadOptions
from stage2_student.hidden_matching import NAME, HiddenMatching
from stage2_student.objective import Objective
from stage2_student.student_states import StudentStates
from stage2_student.targets import Targets

StepLoss = tuple[torch.Tensor, torch.Tensor]
"""(sum to minimise, differentiable; [L] plain sums of the terms). A tuple, since FSDP2 looks for
the tensors of an output and finds none in objects of our own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadTask:
    """What the output head is asked for in place of logits."""

    targets: Targets
    objective: Objective
    options: HeadOptions


@contextmanager
def training_forward(
    model: Any, options: HeadOptions, matching: HiddenMatching | None = None
) -> Iterator[None]:
    """Inside, `model(batch, objective)` and `head(hidden, task)` give a StepLoss.

    Everything else about the model stays, so it saves as it always did (but for `matching`, which
    is one of its modules inside); afterwards `generate` and evaluation find the forward that they
    know.
    """
    head, states = model.get_output_embeddings(), StudentStates()
    with states.hooked(model, matching.plan.student_layers if matching else ()):
        head.forward = _HeadForward(head)
        model.forward = _StudentForward(model, options, states, matching)
        if matching is not None:
            setattr(model, NAME, matching)
        try:
            yield
        finally:
            if matching is not None:
                delattr(model, NAME)
            for module in (model, head):
                module.__dict__.pop("forward", None)
                module.__dict__.pop("_original_forward", None)


class _HeadForward:
    """The head's forward: logits as ever without a task, a loss with one."""

    def __init__(self, head: Any) -> None:
        self._head = head

    def __call__(
        self, hidden_ND: torch.Tensor, task: HeadTask | None = None
    ) -> torch.Tensor | StepLoss:
        head = self._head
        if task is None:
            return torch.nn.functional.linear(hidden_ND, head.weight, head.bias)
        found = distillation_loss(
            hidden_ND,
            head.weight,
            task.targets,
            task.objective,
            bias_V=head.bias,
            options=task.options,
        )
        return found.total, torch.stack(list(found.terms.values()))


class _StudentForward:
    """The student's forward on a batch."""

    def __init__(
        self,
        model: Any,
        options: HeadOptions,
        states: StudentStates,
        matching: HiddenMatching | None,
    ) -> None:
        self._model = model
        self._options = options
        self._states = states
        self._matching = matching

    def __call__(self, batch: Batch, objective: Objective) -> StepLoss:
        with self._states.recording() as states:
            hidden_BTD = hidden_states(self._model, batch.input_ids, batch.position_ids)
        task = HeadTask(targets=batch.targets, objective=objective, options=self._options)
        hidden_ND = hidden_BTD.flatten(0, 1)[batch.targets.rows_N]
        loss: StepLoss = self._model.get_output_embeddings()(hidden_ND, task)
        if self._matching is None or not objective.hidden:
            return loss
        sums_H = self._matching({**states, LAST: hidden_BTD}, batch)
        return _with_hidden(loss, sums_H, objective)


def _with_hidden(loss: StepLoss, sums_H: torch.Tensor, objective: Objective) -> StepLoss:
    total, terms_L = loss
    weights_H = sums_H.new_tensor([term.weight for term in objective.hidden])
    return total + (sums_H * weights_H).sum(), torch.cat([terms_L, sums_H.detach().to(terms_L)])


def hidden_states(
    model: Any, ids_BT: torch.Tensor, positions_BT: torch.Tensor | None
) -> torch.Tensor:
    """[B, T, D] what goes into the output head.

    No attention mask is given: transformers then reads the documents of a packed row off the places
    where `positions_BT` starts again, and padding on the right is never looked at by what is left
    of it. `forward_proof.py` shows whether that is so for the model at hand.
    """
    body = model.base_model
    extra = {}
    if positions_BT is not None and takes_positions(model):
        extra["position_ids"] = positions_BT
    found: torch.Tensor = body(input_ids=ids_BT, use_cache=False, **extra).last_hidden_state
    return found


def takes_positions(model: Any) -> bool:
    """Whether the model can be told where a token stands in its document."""
    return "position_ids" in inspect.signature(model.base_model.forward).parameters
