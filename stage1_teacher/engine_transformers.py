"""The reference engine: a transformers model in this process, on any device.

Shapes: B sequences of a batch, T their longest, N captured positions of the batch, D hidden width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from schemas.manifest import Capture
from schemas.manifest import Engine as EngineInfo
from stage1_teacher.capture import Reduction
from stage1_teacher.capture_signals import gather_signals, split_signals
from stage1_teacher.completions import Completion, Prompt, Sampling
from stage1_teacher.engine import EngineSettings
from stage1_teacher.layer_states import prove_layers, recording
from stage1_teacher.samples import Ints, Sample, Signals
from stage1_teacher.tail_offsets import tail_offsets
from stage1_teacher.teacher_folder import locate_teacher
from stage1_teacher.teacher_model import TeacherModel, load_teacher, set_cpu_threads
from stage1_teacher.teacher_proof import body_states
from stage1_teacher.tokenizer import load_tokenizer
from stage1_teacher.transformers_generation import (
    Decode,
    Written,
    prove_left_padding,
    write_responses,
)


class TransformersEngine:
    """Runs a teacher's body on length-sorted batches, and its head on captured rows only."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._teacher: TeacherModel | None = None
        self._reduction: tuple[Capture, Reduction] | None = None
        self._padding_proven = False

    def info(self) -> EngineInfo:
        """The versions of transformers and torch: the numbers are theirs."""
        torch_version = torch.__version__.split("+")[0]
        return EngineInfo(
            name="transformers", version=version("transformers"), settings={"torch": torch_version}
        )

    def supported(self, capture: Capture) -> Capture:
        """All of it."""
        return capture

    def start(self) -> None:
        """Loads and proves the teacher, once.

        Raises:
            ModelError: it cannot be loaded, or its head or its attention is not as expected.
        """
        self._loaded()

    def capture(
        self, samples: Sequence[Sample], capture: Capture, seed: int
    ) -> Iterator[tuple[int, Signals]]:
        """Yields (index into `samples`, signals), longest samples first.

        Raises:
            ModelError: the teacher cannot be loaded, or gives numbers that are not finite.
            ConfigError: `top_k` or a hidden layer is beyond the teacher.
        """
        teacher = self._loaded()
        reduction = self._reducer(teacher, capture)
        for indices in batches([len(s.input_ids) for s in samples], self._settings.batch_tokens):
            batch = [samples[index] for index in indices]
            yield from zip(
                indices, _capture_batch(teacher, reduction, batch, (capture, seed)), strict=True
            )

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, capture: Capture, seed: int
    ) -> Iterator[tuple[int, Completion]]:
        """Yields (index into `prompts`, completion), longest first, by budget and prompt.

        Raises:
            ModelError: as in `capture`; or padding on the left changes what the teacher says.
            ConfigError: as in `capture`.
        """
        teacher = self._loaded()
        reduction = self._reducer(teacher, capture)
        decode = self._decoder() if sampling.stop else None
        lengths = [len(prompt.input_ids) + prompt.max_tokens for prompt in prompts]
        for indices in batches(lengths, self._settings.batch_tokens):
            batch = [prompts[index] for index in indices]
            self._prove_padding(teacher, batch)
            written = write_responses(teacher, batch, sampling, decode)
            found = _complete_batch(teacher, reduction, batch, written, (capture, seed))
            yield from zip(indices, found, strict=True)

    @torch.inference_mode()
    def last_states(self, samples: Sequence[Sample]) -> Iterator[npt.NDArray[np.float32]]:
        """Yields the head's input at the captured positions [P, D], sample by sample, exactly.

        Raises:
            ModelError: the teacher cannot be loaded.
        """
        teacher = self._loaded()
        for sample in samples:
            ids_BT = _padded([sample]).to(teacher.device)
            states_TD = body_states(teacher.model, ids_BT)[0]
            at = torch.from_numpy(sample.positions.astype(np.int64)).to(teacher.device)
            yield states_TD[at].float().cpu().numpy()

    def _loaded(self) -> TeacherModel:
        if self._teacher is None:
            set_cpu_threads()
            self._teacher = load_teacher(self._settings)
        return self._teacher

    def _prove_padding(self, teacher: TeacherModel, batch: Sequence[Prompt]) -> None:
        """Once, and only for who pads."""
        if not self._padding_proven and len({len(prompt.input_ids) for prompt in batch}) > 1:
            prove_left_padding(teacher)
            self._padding_proven = True

    def _decoder(self) -> Decode:
        """Ids as text, without special tokens: what stop texts are looked for in."""
        settings = self._settings
        folder = locate_teacher(settings.model, settings.revision)
        tokenizer = load_tokenizer(folder, trust_remote_code=settings.trust_remote_code)
        return partial(tokenizer.decode, skip_special_tokens=True)

    def _reducer(self, teacher: TeacherModel, capture: Capture) -> Reduction:
        if self._reduction is None or self._reduction[0] != capture:
            if capture.hidden_layers:
                prove_layers(teacher.model, capture.hidden_layers)
            self._reduction = capture, Reduction(teacher.head, capture)
        return self._reduction[1]


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices in batches, longest first: padded to their longest they have at most `tokens` tokens.

    A sequence longer than that is a batch by itself.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        count = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count


@torch.inference_mode()
def _capture_batch(
    teacher: TeacherModel, reduction: Reduction, batch: list[Sample], policy: tuple[Capture, int]
) -> list[Signals]:
    capture, seed = policy
    ids_BT = _padded(batch).to(teacher.device)
    states_BTD, layers = _body(teacher.model, ids_BT, capture.hidden_layers)
    rows_N, next_ids_N, offsets_N = _captured_rows(batch, ids_BT, seed)
    parts = reduction(states_BTD.flatten(0, 1)[rows_N], next_ids_N, offsets_N)
    joined = gather_signals(parts, capture.temperatures)
    counts = [sum(end - start for start, end in sample.captured) for sample in batch]
    signals = list(split_signals(joined, counts))
    if not layers:
        return signals
    return [
        replace(found, hidden=_hidden(layers, row, len(sample.input_ids)))
        for row, (found, sample) in enumerate(zip(signals, batch, strict=True))
    ]


@torch.inference_mode()
def _complete_batch(
    teacher: TeacherModel,
    reduction: Reduction,
    batch: list[Prompt],
    written: list[Written],
    policy: tuple[Capture, int],
) -> list[Completion]:
    """The signals of responses; the head runs again on their rows, in blocks that are cheap."""
    capture, seed = policy
    next_ids = np.concatenate([found.output_ids for found in written]).astype(np.int64)
    pairs = list(zip(batch, written, strict=True))
    offsets = np.concatenate([tail_offsets(seed, p.id, _positions(p, w)) for p, w in pairs])
    parts = reduction(
        torch.cat([found.states_GD for found in written]),
        torch.from_numpy(next_ids).to(teacher.device),
        torch.from_numpy(offsets).to(teacher.device),
    )
    joined = gather_signals(parts, capture.temperatures)
    signals = split_signals(joined, [len(found.output_ids) for found in written])
    if capture.hidden_layers:
        signals = _with_hidden(teacher, reduction, pairs, policy, signals)
    return [
        Completion(
            output_ids=found.output_ids, finish_reason=found.finish_reason, signals=of_response
        )
        for found, of_response in zip(written, signals, strict=True)
    ]


def _positions(prompt: Prompt, written: Written) -> Ints:
    """[G] the positions that predict the generated tokens."""
    start = len(prompt.input_ids) - 1
    return np.arange(start, start + len(written.output_ids), dtype=np.int32)


def _with_hidden(
    teacher: TeacherModel,
    reduction: Reduction,
    pairs: list[tuple[Prompt, Written]],
    policy: tuple[Capture, int],
    signals: Iterator[Signals],
) -> Iterator[Signals]:
    """Hidden states by one more pass over the finished sequences.

    While writing, a cache holds keys and values only, padding stands on the left, and the last
    token never enters the model; a second pass is short beside the writing and gives them all.
    """
    finished = [
        Sample(
            id=prompt.id,
            source="",
            input_ids=np.concatenate([prompt.input_ids, found.output_ids]),
            segments=(),
            captured=(),
        )
        for prompt, found in pairs
    ]
    states = _capture_batch(teacher, reduction, finished, policy)
    for found, state in zip(signals, states, strict=True):
        yield replace(found, hidden=state.hidden)


def _padded(batch: list[Sample]) -> Tensor:
    """[B, T] ids; the padding is on the right, where a causal model cannot look, so any id does."""
    width = max(len(sample.input_ids) for sample in batch)
    ids_BT = np.zeros((len(batch), width), np.int64)
    for row, sample in enumerate(batch):
        ids_BT[row, : len(sample.input_ids)] = sample.input_ids
    return torch.from_numpy(ids_BT)


def _body(model: Any, ids_BT: Tensor, layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """The head's input, and the hidden states of chosen layers."""
    with recording(model, layers) as found:
        return body_states(model, ids_BT), found


def _captured_rows(batch: list[Sample], ids_BT: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Per captured position its row among B·T, its realised next token, its draws' offset."""
    width, positions = ids_BT.shape[1], [sample.positions for sample in batch]
    rows = np.concatenate([row * width + at for row, at in enumerate(positions)])
    offsets = [
        tail_offsets(seed, sample.id, at) for sample, at in zip(batch, positions, strict=True)
    ]
    rows_N = torch.from_numpy(rows.astype(np.int64)).to(ids_BT.device)
    offsets_N = torch.from_numpy(np.concatenate(offsets)).to(ids_BT.device)
    return rows_N, ids_BT.view(-1)[rows_N + 1], offsets_N


def _hidden(layers: dict[str, Tensor], row: int, length: int) -> dict[str, npt.NDArray[np.uint16]]:
    """bfloat16 bits of one sample's states, padding cut off."""
    return {
        layer: states_BTD[row, :length].cpu().view(torch.int16).numpy().view(np.uint16)
        for layer, states_BTD in layers.items()
    }
