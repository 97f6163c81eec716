"""vLLM beside transformers: engines, prompts, and what counts as the same."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from schemas.manifest import Capture
from stage1_teacher.completions import Completion, Prompt, Sampling
from stage1_teacher.engine import EngineSettings
from stage1_teacher.engine_transformers import TransformersEngine
from stage1_teacher.engine_vllm import VllmEngine
from stage1_teacher.samples import Sample, Signals
from tests.capture_agreement import assert_agree
from tests.stage1_teacher.test_engine_transformers import THRESHOLD
from tests.stage1_teacher.vllm_teachers import OPTIONS

LAYERS = ("0", "1", "2", "last")
GREEDY = Sampling(temperature=0)
SEED = 5


def vllm(folder: Path, **settings) -> VllmEngine:
    options = {**OPTIONS, **settings.pop("options", {})}
    settings = {"dtype": "float32", "max_length": 256, "hidden_layers": LAYERS, **settings}
    return VllmEngine(EngineSettings(model=folder, options=options, **settings))


def prompts(count: int, max_tokens: int = 24) -> list[Prompt]:
    """Texts of ASCII letters, whose tokens are whole characters."""
    from tests.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    texts = [f"The stone counts {i} and finds" + " the river" * i for i in range(count)]
    return [
        Prompt(
            id=f"p{i}",
            input_ids=np.asarray(tokenizer(t)["input_ids"], np.int32),
            max_tokens=max_tokens,
        )
        for i, t in enumerate(texts)
    ]


def written_by(
    engine: VllmEngine | TransformersEngine,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    capture: Capture = THRESHOLD,
) -> list[Completion]:
    found = dict(engine.generate(prompts, sampling, capture, SEED))
    assert sorted(found) == list(range(len(prompts)))
    return [found[index] for index in range(len(prompts))]


def as_sample(prompt: Prompt, written: Completion) -> Sample:
    """The prompt and its response as a text of which the response is captured."""
    ids = np.concatenate([prompt.input_ids, written.output_ids])
    span = (len(prompt.input_ids) - 1, len(ids) - 1)
    return Sample(id=prompt.id, source="", input_ids=ids, segments=(), captured=(span,))


def assert_close(found: Signals, twin: Signals) -> None:
    """A draw whose point lies within rounding of a border may take the entry beside it."""
    assert np.abs(found.token_logprobs - twin.token_logprobs).max(initial=0) <= 5e-4
    assert_agree(found, twin, atol=5e-4, same=0.9)
