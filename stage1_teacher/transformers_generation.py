"""A transformers teacher writes responses, and the head's inputs of the same pass are kept.

`model.generate` runs the model and its cache; what decides the tokens is here: every row's own
draws, its own budget, its own end. Prompts are padded on the left, which a mask hides from the
model; a proof at first use shows that it does.

Shapes: B prompts of a batch, T their longest, G generated tokens of one of them, D hidden width,
V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from stage1_teacher.completions import FinishReason, Prompt, Sampling
from stage1_teacher.samples import Ints
from stage1_teacher.sampling import draw_tokens
from stage1_teacher.teacher_model import TeacherModel
from stage1_teacher.teacher_proof import check_left_padding, proof_prompts
from stage1_teacher.uniforms import uniforms

Decode = Callable[[Sequence[int]], str]
"""Token ids as text, special tokens left out."""

_MARGIN = 8
"""Tokens of context in which a stop text is looked for, besides those that it can have itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A response as ids, and the head's inputs that it was drawn from.

    Attributes:
        output_ids: [G] generated tokens.
        finish_reason: `stop` or `length`.
        states_GD: the head's input at the position before each of them.
    """

    output_ids: Ints
    finish_reason: FinishReason
    states_GD: Tensor


@torch.inference_mode()
def write_responses(
    teacher: TeacherModel, batch: Sequence[Prompt], sampling: Sampling, decode: Decode | None = None
) -> list[Written]:
    """One batch: all prompts advance together until the last one has ended.

    `decode` is needed where there are stop texts.
    """
    ids_BT, mask_BT = _left_padded(batch)
    endings = _Endings(batch, sampling, teacher.end_ids, decode)
    model = teacher.model
    with _head_inputs(model) as states_GBD, _own_settings(model, endings.longest) as settings:
        out_BT = model.generate(
            input_ids=ids_BT.to(teacher.device),
            attention_mask=mask_BT.to(teacher.device),
            generation_config=settings,
            logits_processor=LogitsProcessorList([_Draws(batch, sampling, endings.longest)]),
            stopping_criteria=StoppingCriteriaList([endings]),
        )
    ids_BG = out_BT[:, ids_BT.shape[1] :].cpu().numpy().astype(np.int32)
    states = torch.stack(states_GBD)
    return [
        Written(
            output_ids=ids_BG[row, :count],
            finish_reason=endings.reasons[row],
            states_GD=states[:count, row],
        )
        for row, count in enumerate(endings.counts)
    ]


def prove_left_padding(teacher: TeacherModel) -> None:
    """Compares what a short prompt gives beside a longer one with what it gives alone.

    Raises:
        ModelError: they differ, so the architecture looks into padding on the left.
    """
    prompts = [
        Prompt(id=str(row), input_ids=ids.cpu().numpy().astype(np.int32), max_tokens=1)
        for row, ids in enumerate(proof_prompts(teacher.model))
    ]
    greedy = Sampling(temperature=0)
    states = [
        write_responses(teacher, batch, greedy)[-1].states_GD for batch in (prompts[1:], prompts)
    ]
    check_left_padding(teacher.model, teacher.head, *states)


class _Draws:
    """A logits processor that draws each row's token itself and leaves nothing else to take."""

    def __init__(self, batch: Sequence[Prompt], sampling: Sampling, steps: int) -> None:
        self._sampling = sampling
        self._start: int | None = None
        counters = np.arange(steps, dtype=np.int32)
        points = [uniforms(sampling.seed_of(prompt.id), counters) for prompt in batch]
        self._points_BG = torch.from_numpy(np.stack(points))

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[B, V] scores of which only the drawn tokens' are finite."""
        length = input_ids.shape[1]
        self._start = length if self._start is None else self._start
        points_B = self._points_BG[:, length - self._start].to(scores.device)
        settings = self._sampling
        drawn_B = draw_tokens(scores, points_B, settings.temperature, settings.top_p)
        only_BV = torch.full_like(scores, -torch.inf)
        return only_BV.scatter_(1, drawn_B.unsqueeze(-1), 0)


class _Endings:
    """Stopping criteria: a row's own budget, an end token, a stop text that is complete.

    Attributes:
        counts: generated tokens per row, once it has ended.
        reasons: why it ended.
        longest: the largest budget.
    """

    def __init__(
        self,
        batch: Sequence[Prompt],
        sampling: Sampling,
        ends: frozenset[int],
        decode: Decode | None,
    ) -> None:
        self.counts = [0] * len(batch)
        self.reasons: list[FinishReason] = ["length"] * len(batch)
        self.longest = max(prompt.max_tokens for prompt in batch)
        self._budgets = [prompt.max_tokens for prompt in batch]
        self._width = max(len(prompt.input_ids) for prompt in batch)
        self._stop, self._ends, self._decode = sampling.stop, ends, decode
        longest_stop = max((len(text.encode()) for text in sampling.stop), default=0)
        self._window = longest_stop + _MARGIN

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """[B] whether each row has ended."""
        count = input_ids.shape[1] - self._width
        recent = input_ids[:, self._width :][:, -self._window :].tolist()
        for row, ids in enumerate(recent):
            if not self.counts[row]:
                self._look(row, ids, count)
        return torch.tensor([count > 0 for count in self.counts], device=input_ids.device)

    def _look(self, row: int, recent: list[int], count: int) -> None:
        if recent[-1] in self._ends or self._stops(recent):
            self.counts[row], self.reasons[row] = count, "stop"
        elif count >= self._budgets[row]:
            self.counts[row] = count

    def _stops(self, recent: list[int]) -> bool:
        """Every token spells a byte at least, so a stop text just completed is in the window."""
        if self._decode is None:
            return False
        text = self._decode(recent)
        return any(stop in text for stop in self._stop)


@contextmanager
def _own_settings(model: Any, steps: int) -> Iterator[GenerationConfig]:
    """Settings of ours; the model's own would fill what they leave out, so they are taken away.

    Repetition penalties and the like would write what the captured distributions do not say.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield GenerationConfig(
            max_new_tokens=steps, do_sample=False, use_cache=True, disable_compile=True
        )
    finally:
        model.generation_config = own


@contextmanager
def _head_inputs(model: Any) -> Iterator[list[Tensor]]:
    """Inside, every step puts the head's input at the last position there: [B, D] each."""
    found: list[Tensor] = []
    head = model.get_output_embeddings()
    # a copy, for the first step's input is a part of all of the prompts' states
    hook = head.register_forward_pre_hook(lambda _, args: found.append(args[0][:, -1].clone()))
    try:
        yield found
    finally:
        hook.remove()


def _left_padded(batch: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """[B, T] ids and mask; the padding is masked, so any id does."""
    width = max(len(prompt.input_ids) for prompt in batch)
    ids_BT, mask_BT = np.zeros((2, len(batch), width), np.int64)
    for row, prompt in enumerate(batch):
        ids_BT[row, width - len(prompt.input_ids) :] = prompt.input_ids
        mask_BT[row, width - len(prompt.input_ids) :] = 1
    return torch.from_numpy(ids_BT), torch.from_numpy(mask_BT)
