"""What one step of a vLLM model runner computed, in the words of neither of vLLM's two runners.

Between a runner's `execute_model` and its `sample_tokens` the states of all tokens of the step lie
in `execute_model_state`, outside compiled code and CUDA graphs. Runner V1 was run; V2, which needs
Triton, is written from its source.

Shapes: N tokens of the step, D hidden width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stage1_teacher.vllm_rows import Chunk, Ticket

TICKET = "potstill"
"""Our key in a request's `extra_args`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The tokens of a step, request after request.

    Attributes:
        chunks: which positions of which requests.
        ids_N: the tokens; with asynchronous scheduling only the device knows them.
        hidden_ND: what the output head reads.
        layers: states before a layer or behind it, where they were asked for.
    """

    chunks: list[Chunk]
    ids_N: Tensor
    hidden_ND: Tensor
    layers: list[Tensor]


def read_step(runner: Any) -> Step | None:
    """The step that `runner` has just computed, or None: nothing ran, or the head is elsewhere."""
    state = runner.execute_model_state
    if state is None or state.hidden_states is None:
        return None
    batch, starts, computed, ids_N = _batch(runner, state)
    chunks = [
        Chunk(
            request=request,
            position=int(computed[index]),
            row=int(starts[index]),
            count=int(starts[index + 1] - starts[index]),
        )
        for index, request in enumerate(batch.req_ids)
    ]
    count = int(starts[len(chunks)])
    return Step(
        chunks=chunks,
        ids_N=ids_N[:count],
        hidden_ND=state.hidden_states[:count],
        layers=[layer[:count] for layer in state.aux_hidden_states or ()],
    )


def tickets(scheduled: Any) -> Iterator[tuple[str, Ticket]]:
    """Requests that a step is the first of, and that are ours."""
    for request in scheduled.scheduled_new_reqs:
        extra = getattr(request.sampling_params, "extra_args", None) or {}
        if TICKET in extra:
            yield request.req_id, Ticket.of(extra[TICKET])


def _batch(runner: Any, state: Any) -> tuple[Any, Any, Any, Tensor]:
    """The batch, its first rows, positions computed before, and tokens; V2 has all in one place."""
    batch = getattr(state, "input_batch", None)
    if batch is not None:
        return batch, batch.query_start_loc_np, batch.num_computed_tokens_np, batch.input_ids
    batch = runner.input_batch
    starts = runner.query_start_loc.np
    return batch, starts, batch.num_computed_tokens_cpu, runner.input_ids.gpu
