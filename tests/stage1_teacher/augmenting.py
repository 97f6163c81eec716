"""An engine that writes new prompts as told, and what augmenting with it needs."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas.manifest import Capture
from schemas.manifest import Engine as EngineInfo
from stage1_teacher.augment_settings import AugmentSettings
from stage1_teacher.completions import Completion, Prompt, Sampling
from stage1_teacher.corpus import open_corpus
from stage1_teacher.corpus_rows import Columns
from stage1_teacher.tokenizer import TeacherTokenizer
from tests.tiny import write_rows

SEEDS = [
    {"id": "apples", "prompt": "Tom has 3 apples and buys 4 more. How many has he?"},
    {"id": "sea", "prompt": "Write a poem about the sea.", "source": "poems"},
    {"messages": [{"role": "user", "content": "What is the capital of France?"}]},
    {"id": "long", "prompt": "why " * 300},
]


class ScriptedEngine:
    """Writes what a function of the question says; nothing of a model is loaded.

    `asked` collects the prompts' ids, `stop_after` interrupts as Ctrl-C does.
    """

    def __init__(self, tokenizer: TeacherTokenizer, write: Callable[[str], str]) -> None:
        self.asked: list[str] = []
        self.stop_after: int | None = None
        self._tokenizer = tokenizer
        self._write = write

    def info(self) -> EngineInfo:
        return EngineInfo(name="scripted", version="1")

    def supported(self, capture: Capture) -> Capture:
        return capture

    def start(self) -> None:
        pass

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, capture: Capture, seed: int
    ) -> Iterator[tuple[int, Completion]]:
        for index in reversed(range(len(prompts))):
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            prompt = prompts[index]
            self.asked.append(prompt.id)
            text = self._write(self._tokenizer.decode(prompt.input_ids.tolist()))
            ids = self._tokenizer.encode(text, special=False).ids[: prompt.max_tokens]
            cut = not text.endswith("</prompt>") and "END" not in text
            output = np.array(ids, np.int32)
            signals: Any = None
            reason = "length" if cut else "stop"
            yield index, Completion(output_ids=output, finish_reason=reason, signals=signals)


def settings_of(augment_teacher: Path, folder: Path, **changed: Any) -> AugmentSettings:
    corpus = folder / "seeds.jsonl"
    if not corpus.exists():
        write_rows(corpus, SEEDS)
    for name in ("one", "two"):
        (folder / f"{name}.jinja").write_text(name + ": {{ prompt }}")
    given = {
        "teacher": str(augment_teacher),
        "corpus": str(corpus),
        "out": str(folder / "new.jsonl.zst"),
        "templates": [str(folder / "one.jinja"), str(folder / "two.jinja")],
        "dtype": "float32",
        "max_new_tokens": 120,
        "unit_size": 2,
    }
    return AugmentSettings(**{**given, **changed})


def rows_of(path: str | Path) -> list[dict[str, Any]]:
    """The rows as the dump reads them, provenance parsed."""
    corpus = open_corpus(str(path), Columns(prompts_only=True))
    return [
        {"id": r.id, "source": r.source, "prompt": r.prompt, **json.loads(r.provenance)}
        for r in corpus.rows()
    ]


def echo(question: str) -> str:
    """A new prompt that differs from every other one."""
    kind, _, rest = question.partition("user\n")[2].partition("<|im_end|>")[0].partition(": ")
    return f"{kind.upper()} {rest[::-1]}</prompt> and more</prompt>"
