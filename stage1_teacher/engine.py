"""What an engine is, and every engine on one screen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from schemas.manifest import Capture
from schemas.manifest import Engine as EngineInfo
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
        trust_remote_code: run the model's own Python code.
    """

    model: str | Path
    revision: str | None = None
    dtype: str = "bfloat16"
    device: str = "auto"
    batch_tokens: int = 8192
    trust_remote_code: bool = False


class Engine(Protocol):
    """Runs a teacher. Nothing else in potstill knows which engine runs.

    Making one loads nothing, so `info` is cheap and a dump that is complete never loads a teacher.
    """

    def info(self) -> EngineInfo:
        """Name, version and the settings that decide its numbers, for the manifest."""
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


def _transformers(settings: EngineSettings) -> Engine:
    from stage1_teacher.engine_transformers import TransformersEngine

    return TransformersEngine(settings)


ENGINES: dict[str, Callable[[EngineSettings], Engine]] = {"transformers": _transformers}
