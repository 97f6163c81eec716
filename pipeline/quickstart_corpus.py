"""The bundled corpus: generated from a seed, written by this project, no text of others in it.

Four kinds, each a `source` of its own so that the slices of a report mean something: conversations
with instructions, word problems with worked answers, short prose, and Python code.
"""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from pipeline.quickstart_code import module
from pipeline.quickstart_instructions import conversation
from pipeline.quickstart_problems import Problem, problem
from pipeline.quickstart_prose import story

SEED = 7
ROWS = {"instructions": 500, "problems": 350, "prose": 200, "code": 160}
"""Rows of each kind: about 130,000 tokens of SmolLM2."""
STORY_PROMPTS = (
    *("Tell me a short story.", "Write a little tale about someone with a trade."),
    *("Tell a story with an animal in it.", "Write two or three paragraphs of fiction."),
)
CODE_PROMPTS = (
    *("Write some small Python functions.", "Show me a few Python helpers with docstrings."),
    *("Write Python code with doctests.", "I need small functions over lists. In Python, please."),
)


def corpus_lines(seed: int = SEED) -> Iterator[str]:
    """The corpus as JSON lines, kinds mixed; the same bytes for the same seed, anywhere."""
    for number, row in enumerate(corpus_rows(seed)):
        yield json.dumps({"id": f"{row['source']}-{number:05d}", **row}) + "\n"


def corpus_rows(seed: int = SEED) -> list[dict[str, Any]]:
    """The rows: all are conversations, `messages`; none stands twice."""
    random = Random(seed)
    rows: dict[str, dict[str, Any]] = {}
    for source, count in ROWS.items():
        wanted = len(rows) + count
        while len(rows) < wanted:
            messages = MAKERS[source](random)
            rows.setdefault(json.dumps(messages), {"source": source, "messages": messages})
    mixed = list(rows.values())
    random.shuffle(mixed)
    return mixed


def problems(count: int, seed: int) -> list[Problem]:
    """Problems of another seed, which no dump of the corpus holds."""
    random = Random(seed)
    return [problem(random) for _ in range(count)]


def _messages(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]


def _problem(random: Random) -> list[dict[str, str]]:
    made = problem(random)
    return _messages((made.question, made.response))


def _prose(random: Random) -> list[dict[str, str]]:
    text = story(random)
    return _messages((random.choice(STORY_PROMPTS), text))


def _code(random: Random) -> list[dict[str, str]]:
    text = module(random)
    return _messages((random.choice(CODE_PROMPTS), f"```python\n{text}```"))


MAKERS: dict[str, Callable[[Random], list[dict[str, str]]]] = {
    "instructions": lambda random: _messages(*conversation(random)),
    "problems": _problem,
    "prose": _prose,
    "code": _code,
}
