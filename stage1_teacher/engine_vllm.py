"""The production engine: vLLM runs the teacher, and its workers reduce the logits beside it.

Shapes: L tokens of a sample or a prompt, G generated tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from schemas.errors import ConfigError, DamagedError
from schemas.hidden_layers import LAST
from schemas.manifest import Capture
from schemas.manifest import Engine as EngineInfo
from stage1_teacher.capture_signals import join_signals
from stage1_teacher.completions import Completion, FinishReason, Prompt, Sampling
from stage1_teacher.engine import EngineSettings
from stage1_teacher.response_ends import end_ids
from stage1_teacher.samples import Ints, Sample, Signals
from stage1_teacher.tail_offsets import tail_key
from stage1_teacher.vllm_options import DECIDING, vllm_info
from stage1_teacher.vllm_session import Answer, Request, Session
from stage1_teacher.vllm_start import start_llm

EXTENSION = "stage1_teacher.vllm_worker.CaptureExtension"

_UNUSED: dict[str, Any] = {
    "max_tokens": 1,
    "temperature": 0.0,
    "detokenize": False,
    "ignore_eos": True,
}
"""vLLM generates one token at least; where a text is captured, nobody looks at it."""


class VllmEngine:
    """Gives sequences to vLLM, and passes on what its workers kept of them."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._session: Session | None = None
        self._ends: list[int] = []

    def info(self) -> EngineInfo:
        """The version of vLLM, and the options that decide numbers."""
        return vllm_info(self._settings, "capture", None)

    def supported(self, capture: Capture) -> Capture:
        """All of it."""
        return capture

    def start(self) -> None:
        """Loads the teacher into vLLM, and proves its head, once.

        Raises:
            ModelError: vLLM cannot run the teacher, or its head or its layers are not as expected.
        """
        self._started()

    def capture(
        self, samples: Sequence[Sample], capture: Capture, seed: int
    ) -> Iterator[tuple[int, Signals]]:
        """Yields (index into `samples`, signals), in the order that vLLM ends them.

        Raises:
            ModelError: as in `start`; or the teacher gives numbers that are not finite.
            ConfigError: `top_k` is above the vocabulary, or hidden layers were not announced.
            DamagedError: positions are missing.
        """
        session = self._ready(capture)
        hidden = bool(capture.hidden_layers)
        asked = [i for i, sample in enumerate(samples) if sample.captured or hidden]
        for index in sorted(set(range(len(samples))) - set(asked)):
            yield index, join_signals([], len(capture.temperatures))
        requests = [_text_request(samples[index], seed, hidden) for index in asked]
        for key, answer in session.run(requests, capture):
            sample = samples[asked[key]]
            signals = _complete(sample.id, answer, sample.positions)
            if hidden:
                states = session.states(key, len(sample.input_ids))
                signals = replace(signals, hidden=states)
            yield asked[key], signals

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, capture: Capture, seed: int
    ) -> Iterator[tuple[int, Completion]]:
        """Yields (index into `prompts`, completion), in the order that vLLM ends them.

        Hidden states come from a second pass over prompt and response: the last token never
        entered the model in the first.

        Raises:
            ModelError: as in `capture`.
            ConfigError: as in `capture`.
            DamagedError: as in `capture`; or vLLM gave a response up.
        """
        session = self._ready(capture)
        requests = [self._prompt_request(prompt, sampling, seed) for prompt in prompts]
        found = (
            (index, _completion(prompts[index], answer))
            for index, answer in session.run(requests, capture)
        )
        if not capture.hidden_layers:
            yield from found
            return
        written = list(found)
        for (index, completion), states in self._states(prompts, written, capture):
            signals = replace(completion.signals, hidden=states)
            yield index, replace(completion, signals=signals)

    def _states(
        self,
        prompts: Sequence[Prompt],
        written: list[tuple[int, Completion]],
        capture: Capture,
    ) -> Iterator[tuple[tuple[int, Completion], dict[str, Any]]]:
        session = self._started()
        sequences = [
            np.concatenate([prompts[index].input_ids, completion.output_ids])
            for index, completion in written
        ]
        requests = [
            _states_request(prompts[index].id, ids)
            for (index, _), ids in zip(written, sequences, strict=True)
        ]
        for key, _ in session.run(requests, capture):
            yield written[key], session.states(key, len(sequences[key]))

    def _prompt_request(self, prompt: Prompt, sampling: Sampling, seed: int) -> Request:
        return Request(
            name=prompt.id,
            input_ids=prompt.input_ids,
            captured=((len(prompt.input_ids) - 1, None),),
            next_id=None,
            tail_key=tail_key(seed, prompt.id),
            sampling={
                "max_tokens": prompt.max_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": sampling.seed_of(prompt.id),
                "stop": list(sampling.stop),
                "include_stop_str_in_output": True,
                "detokenize": bool(sampling.stop),
                "stop_token_ids": self._ends,
                "ignore_eos": True,  # the tokens that end a response are those of `_ends`
            },
            states=False,
        )

    def _ready(self, capture: Capture) -> Session:
        announced = self._settings.hidden_layers
        if tuple(capture.hidden_layers) not in ((), announced):
            raise ConfigError(
                f"vLLM was started for hidden layers {', '.join(announced) or 'none'}; asked for "
                f"are {', '.join(capture.hidden_layers)}. Make an engine with those."
            )
        return self._started()

    def _started(self) -> Session:
        if self._session is None:
            settings = self._settings
            more: dict[str, Any] = {"worker_extension_cls": EXTENSION, **_head_overrides()}
            if set(settings.hidden_layers) - {LAST}:
                more["enforce_eager"] = True  # layers are exposed after loading
            llm = start_llm(settings, **more)
            self._ends = end_ids(settings)
            head_dtype = settings.options.get("head_dtype", DECIDING["head_dtype"])
            self._session = Session(llm, str(head_dtype), settings.hidden_layers)
        return self._session


def _text_request(sample: Sample, seed: int, hidden: bool) -> Request:
    """All but what comes behind the last captured position and the token that follows it."""
    ids = sample.input_ids
    end = len(ids) if hidden else sample.captured[-1][1]
    return Request(
        name=sample.id,
        input_ids=ids[:end],
        captured=sample.captured,
        next_id=int(ids[min(end, len(ids) - 1)]),
        tail_key=tail_key(seed, sample.id),
        sampling=_UNUSED,
        states=hidden,
    )


def _states_request(name: str, ids: Ints) -> Request:
    return Request(
        name=name,
        input_ids=ids,
        captured=(),
        next_id=int(ids[-1]),
        tail_key=0,
        sampling=_UNUSED,
        states=True,
    )


def _completion(prompt: Prompt, answer: Answer) -> Completion:
    if answer.finish_reason not in ("stop", "length"):
        raise DamagedError(
            f"vLLM gave up the response to {prompt.id!r}: {answer.finish_reason}. Run again."
        )
    start = len(prompt.input_ids) - 1
    expected = np.arange(start, start + len(answer.output_ids), dtype=np.int32)
    return Completion(
        output_ids=answer.output_ids,
        finish_reason=cast(FinishReason, answer.finish_reason),
        signals=_complete(prompt.id, answer, expected),
    )


def _complete(name: str, answer: Answer, expected: Ints) -> Signals:
    """The signals, if they are of the positions that were asked for."""
    if not np.array_equal(answer.positions, expected):
        raise DamagedError(
            f"vLLM's worker left {name!r} incomplete: {len(expected)} captured positions, signals "
            f"for {len(answer.positions)}. Please report it, and give --engine-mode compat."
        )
    return answer.signals


def _head_overrides() -> dict[str, Any]:
    """On a CPU vLLM would convert its whole head at every step to have float32; ours is apart."""
    from vllm.platforms import current_platform

    return {"hf_overrides": {}} if current_platform.is_cpu() else {}
