"""What an engine is, and every engine on one screen."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from schemas.errors import ConfigError
from schemas.manifest import Capture, Setting
from schemas.manifest import Engine as EngineInfo
from stage1_teacher.completions import Completion, Prompt, Sampling
from stage1_teacher.samples import Sample, Signals


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What an engine is started with.

    Attributes:
        model: the teacher's folder or hub name.
        revision: hub revision, or None.
        dtype: float32 or bfloat16: the teacher's weights and activations; reductions are fp32.
        device: "auto", "cpu", "cuda", ….
        batch_tokens: token budget of one forward pass, padding included.
        max_length: longest sequence, generated tokens included; None: the teacher's context.
        trust_remote_code: run the model's own Python code.
        hidden_layers: hidden states that will be asked for, which some engines must know at start.
        mode: of vLLM: "capture" beside the model, "compat" through its public interface, or "auto".
        options: of vLLM, under its own names; stage1_teacher/vllm_options.py says which decide
            numbers.
    """

    model: str | Path
    revision: str | None = None
    dtype: str = "bfloat16"
    device: str = "auto"
    batch_tokens: int = 8192
    max_length: int | None = None
    trust_remote_code: bool = False
    hidden_layers: tuple[str, ...] = ()
    mode: str = "auto"
    options: Mapping[str, Setting] = field(default_factory=dict)


class Engine(Protocol):
    """Runs a teacher. Nothing else in potstill knows which engine runs.

    Making one loads nothing, so `info` is cheap and a dump that is complete never loads a teacher.
    """

    def info(self) -> EngineInfo:
        """Name, version and the settings that decide its numbers, for the manifest."""
        ...

    def supported(self, capture: Capture) -> Capture:
        """The policy that this engine will really store; it loads no model.

        Raises:
            ConfigError: it cannot do without what it lacks.
        """
        ...

    def start(self) -> None:
        """Loads the teacher, which is slow; `capture` does it when nobody has.

        Raises:
            ModelError: it cannot be loaded.
        """
        ...

    def capture(
        self, samples: Sequence[Sample], capture: Capture, seed: int
    ) -> Iterator[tuple[int, Signals]]:
        """Yields (index into `samples`, signals) for every sample, in any order, each once."""
        ...

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, capture: Capture, seed: int
    ) -> Iterator[tuple[int, Completion]]:
        """Yields (index into `prompts`, completion) for every prompt, in any order, each once.

        Hidden states, where `capture` asks for them, cover prompt and response.
        """
        ...


def _transformers(settings: EngineSettings) -> Engine:
    from stage1_teacher.engine_transformers import TransformersEngine

    return TransformersEngine(settings)


def _vllm(settings: EngineSettings) -> Engine:
    from stage1_teacher.vllm_modes import vllm_engine

    return vllm_engine(settings)


ENGINES: dict[str, Callable[[EngineSettings], Engine]] = {
    "transformers": _transformers,
    "vllm": _vllm,
}


def check_engine(name: str) -> None:
    """Checks that there is such an engine.

    Raises:
        ConfigError: there is none; the nearest name is given.
    """
    if name not in ENGINES:
        close = difflib.get_close_matches(name, ENGINES, n=1)
        advice = f"Did you mean {close[0]}?" if close else f"Give one of {', '.join(ENGINES)}."
        raise ConfigError(f"no engine {name!r}. {advice}")
