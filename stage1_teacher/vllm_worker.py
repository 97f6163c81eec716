"""Our part of vLLM's workers: reads every step, reduces it beside the model, keeps what comes out.

`CaptureExtension` is mixed into vLLM's worker class by name (`worker_extension_cls`); the driver
calls its methods by name and gets bytes. Every rank of a tensor-parallel group reduces its own part
of the vocabulary; the first rank answers. Under pipeline parallelism only the last group sees rows.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from schemas.errors import PotstillError
from schemas.hidden_layers import LAST
from schemas.manifest import Capture
from stage1_teacher.head_rows import BLOCK_ROWS, BlockRows
from stage1_teacher.samples import Signals
from stage1_teacher.vllm_head import WorkerHead, proven_head
from stage1_teacher.vllm_layers import expose_layers
from stage1_teacher.vllm_orphans import end_with
from stage1_teacher.vllm_pool import PoolShape, RowPool
from stage1_teacher.vllm_rows import RowLedger
from stage1_teacher.vllm_spool import append_states
from stage1_teacher.vllm_step import Step, read_step, tickets
from stage1_teacher.vllm_wire import Arrays, pack

EXTENSION = "stage1_teacher.vllm_worker.CaptureExtension"

_ROWS = {"cpu": BLOCK_ROWS["cpu"], "cuda": BlockRows(head=1024, reduced=256)}
"""A GPU's memory is vLLM's but for a small rest, so blocks are smaller than without it."""


class CaptureExtension:
    """Methods that the driver calls; every attribute is prefixed, the class is not ours alone."""

    def potstill_install(self, request: bytes) -> bytes:
        """Takes hold of the model runner, and proves that the head's logits are the model's.

        Args:
            request: JSON: `head_dtype`; `layers`, the ids of hidden states; and `owner`, the
                process that this one shall end with.

        Returns:
            A message whose head has `hidden_size`.
        """
        return _answered(lambda: self._potstill_installed(json.loads(request)))

    def potstill_begin(self, request: bytes) -> bytes:
        """Forgets all rows; from now on captures by a policy.

        Args:
            request: JSON: `capture`, the policy, and `folder`, for hidden states.
        """
        return _answered(lambda: self._potstill_begun(json.loads(request)))

    def potstill_collect(self, request: bytes) -> bytes:
        """The signals of requests that have ended, as arrays; the worker forgets them.

        Args:
            request: JSON: per request its key, the token after its last row, and the position
                behind that row.
        """
        return _answered(lambda: self._potstill_collected(json.loads(request)))

    def _potstill_installed(self, settings: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        end_with(settings["owner"])
        runner: Any = self.model_runner  # type: ignore[attr-defined]
        self.potstill_capturer = Capturer(runner, settings["head_dtype"], settings["layers"])
        self.potstill_capturer.take_hold()
        return {"hidden_size": self.potstill_capturer.width}, {}

    def _potstill_begun(self, settings: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        capture = Capture.model_validate(settings["capture"])
        self.potstill_capturer.begin(capture, Path(settings["folder"]))
        return {}, {}

    def _potstill_collected(self, ended: list[list[int]]) -> tuple[dict[str, Any], Arrays]:
        return {}, self.potstill_capturer.collect({key: (last, end) for key, last, end in ended})


class Capturer:
    """Reads the steps of one model runner."""

    def __init__(self, runner: Any, head_dtype: str, layers: list[str]) -> None:
        """Proves the head; every rank must do this at the same time.

        Raises:
            ModelError: the head is not as expected, or vLLM does not give these layers.
        """
        self._runner, self._layers = runner, layers
        self._policy: tuple[Capture, Callable[..., Any]] | None = None
        self._pool: RowPool | None = None
        self._ledger, self._folder = RowLedger(), Path()
        self._failure: PotstillError | None = None
        self.width = int(runner.model_config.get_hidden_size())
        self._head: WorkerHead | None = proven_head(runner, head_dtype, self.width)
        expose_layers(runner, [layer for layer in layers if layer != LAST])

    def take_hold(self) -> None:
        """From now on every step is read."""
        execute = self._runner.execute_model

        def execute_model(scheduled: Any, *args: Any, **kwargs: Any) -> Any:
            result = execute(scheduled, *args, **kwargs)
            with torch.inference_mode():
                self._after(scheduled)
            return result

        self._runner.execute_model = execute_model

    def begin(self, capture: Capture, folder: Path) -> None:
        """Forgets all rows, and captures by this policy from now on.

        Raises:
            ConfigError: the policy does not fit the teacher.
        """
        self._ledger, self._folder, self._failure = RowLedger(), folder, None
        self._pool = None
        if self._head is None:
            return
        device = self._head.device
        rows = _ROWS.get(device.type, _ROWS["cuda"])
        if self._policy is None or self._policy[0] != capture:
            self._policy = None  # the old buffers go before the new ones come
            self._policy = capture, self._head.reduction(capture, rows)
        waiting = int(self._runner.scheduler_config.max_num_seqs)
        shape = PoolShape(block=rows.head, waiting=waiting, width=self.width)
        like = torch.empty(0, dtype=self._runner.model_config.dtype, device=device)
        self._pool = RowPool(self._policy[1], capture.temperatures, shape, like)

    def collect(self, ends: dict[int, tuple[int, int]]) -> Arrays:
        """The signals of requests that have ended; nothing unless this rank answers.

        Raises:
            PotstillError: whatever went wrong since the last time.
        """
        if self._failure is not None:
            raise self._failure
        if self._head is None or self._pool is None:
            return {}
        self._ledger.close(ends)
        with torch.inference_mode():
            signals, positions, counts = self._pool.take(ends)
        if not self._head.answers:
            return {}
        return {**_arrays(signals), "positions": positions, "counts": counts}

    def _after(self, scheduled: Any) -> None:
        """Reads the step that was just computed; the driver hears of failures when it collects."""
        try:
            self._ledger.forget(scheduled.finished_req_ids)
            for request, ticket in tickets(scheduled):
                self._ledger.admit(request, ticket)
            step = read_step(self._runner)
            if step is not None and self._failure is None:
                self._read(step)
        except PotstillError as error:
            self._failure = error

    def _read(self, step: Step) -> None:
        if self._head is None or self._pool is None:
            return
        rows = self._ledger.step(step.chunks)
        self._pool.add(rows, step.hidden_ND, step.ids_N)
        if self._layers and self._head.answers and rows.fresh:
            last = [step.hidden_ND] if LAST in self._layers else []
            append_states(self._folder, [*step.layers, *last], rows.fresh)


def _arrays(signals: Signals) -> Arrays:
    return {
        "topk_offsets": signals.topk.offsets,
        "topk_ids": signals.topk.ids,
        "topk_logits": signals.topk.logits,
        "tail_offsets": signals.tail.offsets,
        "tail_ids": signals.tail.ids,
        "tail_logits": signals.tail.logits,
        "tail_logmass": signals.tail_logmass,
        "max_logit": signals.max_logit,
        "token_logprobs": signals.token_logprobs,
    }


def _answered(answer: Callable[[], tuple[dict[str, Any], Arrays]]) -> bytes:
    """The answer, or our error by its name: the driver may be in another process."""
    try:
        head, arrays = answer()
    except PotstillError as error:
        return pack({"error": type(error).__name__, "text": str(error)}, {})
    return pack(head, arrays)
