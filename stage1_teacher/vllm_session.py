"""A started vLLM with our extension in its workers: requests go in, what was captured comes out.

vLLM is stepped, so that answers are passed on while others are under way. What has ended is asked
for in groups, for the workers reduce their last rows whenever they are asked.

Shapes: L tokens of a prompt, G generated tokens, P captured positions.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import schemas.errors
from schemas.errors import InputError, PotstillError
from schemas.manifest import Capture
from stage1_teacher.capture_signals import split_signals
from stage1_teacher.samples import Ints, Ragged, Signals
from stage1_teacher.vllm_death import engine_processes, explained_death, while_alive
from stage1_teacher.vllm_rows import Span, Ticket
from stage1_teacher.vllm_spool import Bits, take_states
from stage1_teacher.vllm_step import TICKET
from stage1_teacher.vllm_wire import unpack

Arrays = dict[str, npt.NDArray[Any]]

_GROUP_TOKENS = 4096
"""Tokens that end before they are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One sequence for vLLM.

    Attributes:
        name: what errors call it.
        input_ids: [L] what it computes.
        captured: spans of positions that carry signals; an open one ends with the sequence.
        next_id: the token after `input_ids` where it is known: only one is generated then, and it
            is not looked at.
        tail_key: of the tail draws.
        sampling: arguments of vLLM's `SamplingParams`.
        states: whether hidden states are written.
    """

    name: str
    input_ids: Ints
    captured: tuple[Span, ...]
    next_id: int | None
    tail_key: int
    sampling: dict[str, Any]
    states: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A request that has ended.

    Attributes:
        output_ids: [G] what vLLM generated.
        finish_reason: in vLLM's word.
        positions: [P] of the signals.
        signals: without hidden states.
    """

    output_ids: Ints
    finish_reason: str
    positions: Ints
    signals: Signals


class Session:
    """Runs requests, all of one capture policy at a time."""

    def __init__(self, llm: Any, head_dtype: str, layers: Sequence[str]) -> None:
        """Puts our extension in place.

        Raises:
            ModelError: the head or the layers are not as capture needs them.
        """
        self._llm, self._layers = llm, tuple(layers)
        self._folder = tempfile.TemporaryDirectory(prefix="potstill-hidden-")
        self._runs = 0
        self._processes = engine_processes()
        asked = {"head_dtype": head_dtype, "layers": list(layers), "owner": os.getpid()}
        head, _ = self._call("install", asked)
        self._width = int(head["hidden_size"])

    def run(self, requests: Sequence[Request], capture: Capture) -> Iterator[tuple[int, Answer]]:
        """Yields (index into `requests`, answer), in any order.

        Raises:
            TemporaryError: vLLM's process died.
            InputError: vLLM refuses a request.
            PotstillError: what went wrong beside the model.
        """
        self._begin(capture)
        engine = self._llm.llm_engine
        under_way: dict[str, int] = {}
        ended: dict[int, Any] = {}
        try:
            for key, request in enumerate(requests):
                under_way[self._add(key, request)] = key
            while under_way:
                with explained_death():
                    outputs = engine.step()
                for output in outputs:
                    if output.finished:
                        ended[under_way.pop(output.request_id)] = output.outputs[0]
                tokens = sum(len(requests[key].input_ids) for key in ended)
                if ended and (tokens >= _GROUP_TOKENS or not under_way):
                    yield from self._collected(requests, ended)
                    ended = {}
        finally:
            if under_way:
                engine.abort_request(list(under_way))

    def states(self, key: int, length: int) -> dict[str, Bits]:
        """The hidden states of a request of the present run that has ended; only once.

        Raises:
            DamagedError: they are not complete.
        """
        return take_states(Path(self._folder.name), key, self._layers, (length, self._width))

    def _begin(self, capture: Capture) -> None:
        self._runs += 1
        for left in Path(self._folder.name).iterdir():
            left.unlink()
        self._call("begin", {"capture": capture.model_dump(), "folder": self._folder.name})

    def _add(self, key: int, request: Request) -> str:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMValidationError
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        ticket = Ticket(
            key=key,
            tail_key=request.tail_key,
            captured=request.captured,
            states=request.states and bool(self._layers),
        )
        params = SamplingParams(
            **request.sampling,
            output_kind=RequestOutputKind.FINAL_ONLY,
            extra_args={TICKET: ticket.plain()},
        )
        name = f"potstill-{self._runs}-{key}"
        prompt = tokens_input(request.input_ids.tolist())
        try:
            with explained_death():
                self._llm.llm_engine.add_request(name, prompt, params)
        except (ValueError, VLLMValidationError) as error:
            raise InputError(f"vLLM refuses sample {request.name!r}: {error}") from error
        return name

    def _collected(
        self, requests: Sequence[Request], ended: dict[int, Any]
    ) -> Iterator[tuple[int, Answer]]:
        asked = [[key, *_end(requests[key], output)] for key, output in ended.items()]
        _, arrays = self._call("collect", asked)
        counts = arrays["counts"]
        places = np.split(arrays["positions"].astype(np.int32), np.cumsum(counts)[:-1])
        found = split_signals(_signals(arrays), counts.tolist())
        for (key, output), positions, signals in zip(ended.items(), places, found, strict=True):
            yield (
                key,
                Answer(
                    output_ids=np.asarray(output.token_ids, np.int32),
                    finish_reason=str(output.finish_reason),
                    positions=positions,
                    signals=signals,
                ),
            )

    def _call(self, method: str, request: Any) -> tuple[dict[str, Any], Arrays]:
        """Calls our method in every worker; the answer is the one that says something."""
        message = json.dumps(request).encode()
        with explained_death():
            messages = while_alive(
                lambda: self._llm.collective_rpc(f"potstill_{method}", args=(message,)),
                self._processes,
            )
        answers = [unpack(m) for m in messages]
        for head, _ in answers:
            if "error" in head:
                kind: type[PotstillError] = getattr(schemas.errors, head["error"])
                raise kind(head["text"])
        return next((answer for answer in answers if answer[1]), answers[0])


def _end(request: Request, output: Any) -> tuple[int, int]:
    """The token after a request's last row, and the position behind that row."""
    length = len(request.input_ids)
    if request.next_id is not None:
        return request.next_id, length
    return int(output.token_ids[-1]), length + len(output.token_ids) - 1


def _signals(arrays: Arrays) -> Signals:
    topk, tail = (
        Ragged(
            offsets=arrays[f"{name}_offsets"],
            ids=arrays[f"{name}_ids"],
            logits=arrays[f"{name}_logits"],
        )
        for name in ("topk", "tail")
    )
    return Signals(
        topk=topk,
        tail=tail,
        tail_logmass=arrays["tail_logmass"],
        max_logit=arrays["max_logit"],
        token_logprobs=arrays["token_logprobs"],
    )
