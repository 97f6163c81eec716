"""An engine that says what a test wants it to say, with signals of the slow twin."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from schemas.manifest import Engine
from stage1_teacher.completions import Completion, Prompt
from stage1_teacher.samples import Sample
from stage1_teacher.tokenizer import TeacherTokenizer
from tests.capture_twin import capture_twin

VOCABULARY = 384


def dense_logits(ids: np.ndarray) -> np.ndarray:
    """[L, V]: a function of the ids only."""
    rng = np.random.default_rng(ids.tolist())
    return 3 * rng.standard_normal((len(ids), VOCABULARY)).astype(np.float32)


@dataclass
class ScriptedEngine:
    """Answers prompt `id` with `says(id)`; a text that ends in … is cut by the budget."""

    tokenizer: TeacherTokenizer
    says: Callable[[str], str]
    most_prompts: int = 0
    asked: list[Prompt] = field(default_factory=list)

    def info(self) -> Engine:
        return Engine(name="scripted", version="1")

    def supported(self, capture):
        return capture

    def start(self) -> None:
        pass

    def generate(self, prompts, sampling, capture, seed):
        self.most_prompts = max(self.most_prompts, len(prompts))
        for index in reversed(range(len(prompts))):  # any order will do
            prompt = prompts[index]
            self.asked.append(prompt)
            text = self.says(prompt.id)
            cut = text.endswith("…")
            ids = self.tokenizer.encode(text.removesuffix("…"), special=False).ids
            output = np.array(ids if cut else [*ids, self.tokenizer.eos], np.int32)
            yield index, self._completion(prompt, output, cut, (capture, seed))

    def _completion(self, prompt, output, cut, policy) -> Completion:
        start = len(prompt.input_ids) - 1
        sample = Sample(
            id=prompt.id,
            source="",
            input_ids=np.concatenate([prompt.input_ids, output]),
            segments=(),
            captured=((start, start + len(output)),),
        )
        return Completion(
            output_ids=output,
            finish_reason="length" if cut else "stop",
            signals=capture_twin(sample, dense_logits(sample.input_ids), *policy),
        )
