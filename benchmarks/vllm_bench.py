"""One vLLM in this process on one CPU thread, for the benchmarks of the engine.

Import this before torch and vLLM: both read the environment when they are imported.
"""

import os

for _name, _value in {
    "OMP_NUM_THREADS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}.items():
    os.environ.setdefault(_name, _value)

from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402

from stage1_teacher.engine import EngineSettings  # noqa: E402
from stage1_teacher.engine_vllm import VllmEngine  # noqa: E402


def started(model: Path, dtype: str, max_length: int, **options: Any) -> VllmEngine:
    """A running engine; `options` are vLLM's."""
    batch_tokens = options.pop("batch_tokens")
    engine = VllmEngine(
        EngineSettings(
            model=model,
            dtype=dtype,
            batch_tokens=batch_tokens,
            max_length=max_length,
            hidden_layers=("last",),
            options={"enforce_eager": True, **options},
        )
    )
    engine.start()
    return engine


def llm_of(engine: VllmEngine) -> Any:
    """The `vllm.LLM` underneath."""
    return engine._started()._llm


def capturer_of(engine: VllmEngine) -> Any:
    """What our extension holds in the one worker, which is in this process."""
    core = llm_of(engine).llm_engine.engine_core.engine_core
    return core.model_executor.driver_worker.worker.potstill_capturer


def generate(
    engine: VllmEngine, prompts: Sequence[np.ndarray], seeds: Sequence[int] = (), **params: Any
) -> None:
    """Runs vLLM alone, our extension idle."""
    from vllm import SamplingParams

    texts = [{"prompt_token_ids": ids.tolist()} for ids in prompts]
    asked = [SamplingParams(seed=seed, **params) for seed in seeds or [None] * len(texts)]
    llm_of(engine).generate(texts, asked, use_tqdm=False)


@contextmanager
def after_steps(engine: VllmEngine, work: Callable[[Any], None]) -> Iterator[None]:
    """Inside, `work` is done with every step in place of our capture."""
    from stage1_teacher.vllm_step import read_step

    capturer = capturer_of(engine)

    def after(_: Any) -> None:
        step = read_step(capturer._runner)
        if step is not None:
            work(step)

    capturer._after = after
    try:
        yield
    finally:
        del capturer._after
