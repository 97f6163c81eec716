"""The text of the quality benchmark: windows of one domain each, training and held out.

60 % GSM8K through the chat template (no system block), 20 % Python's standard library, 20 % the
language reference in `pydoc_data.topics`. Documents of held-out windows are never trained on.
"""

import json
import pydoc_data.topics
import random
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WINDOW = 256
TRAIN = {"gsm8k": 720, "python": 240, "reference": 240}
HELD_OUT = {"gsm8k": 55, "python": 19, "reference": 19}


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Windows of WINDOW token ids, [windows, WINDOW] int32 each."""

    train: np.ndarray
    held_out: np.ndarray
    domains: list[str]


def make_windows(tokenizer: Any, gsm8k: Path) -> Windows:
    """Cuts every domain's document stream; held-out windows come from the first documents."""
    train: list[tuple[str, list[int]]] = []
    held: list[tuple[str, list[int]]] = []
    for domain, documents in _domains(tokenizer, gsm8k).items():
        held += [(domain, w) for w in _cut(documents, HELD_OUT[domain])]
        train += [(domain, w) for w in _cut(documents, TRAIN[domain])]
    random.Random(0).shuffle(train)
    return Windows(
        train=np.array([w for _, w in train], np.int32),
        held_out=np.array([w for _, w in held], np.int32),
        domains=[d for d, _ in held],
    )


def _domains(tokenizer: Any, gsm8k: Path) -> dict[str, Iterator[list[int]]]:
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    random.Random(1).shuffle(sources)
    topics = [pydoc_data.topics.topics[key] for key in sorted(pydoc_data.topics.topics)]
    random.Random(2).shuffle(topics)
    python = (path.read_text(errors="replace") for path in sources)

    def encode(text: str) -> list[int]:
        return [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]

    return {
        "gsm8k": (_chat(tokenizer, json.loads(line)) for line in gsm8k.open()),
        "python": (encode(text) for text in python),
        "reference": (encode(text) for text in topics),
    }


def _chat(tokenizer: Any, row: dict[str, str]) -> list[int]:
    """The chat template's markup, written out: the template itself would add a system block."""
    turns = (("user", row["question"]), ("assistant", row["answer"]))
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    return list(tokenizer.encode(text, add_special_tokens=False))


def _cut(documents: Iterator[list[int]], count: int) -> list[list[int]]:
    """`count` windows from the next documents; what is left of the last document is dropped."""
    windows: list[list[int]] = []
    stream: list[int] = []
    while len(windows) < count:
        stream += next(documents)
        while len(stream) >= WINDOW and len(windows) < count:
            windows.append(stream[:WINDOW])
            stream = stream[WINDOW:]
    return windows
