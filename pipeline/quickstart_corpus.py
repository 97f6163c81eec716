"""The corpus of the quickstart: generated from a seed, of four kinds, no text copied.

Rows are conversations (`instructions`, `problems`) and texts (`prose`, `code`); `source` names the
kind, so that reports have slices that mean something, and problems carry their answer to check.
Every item depends on the seed, its kind and its number only, and no two of a kind are the same. A
larger corpus begins with the same items of each kind.
"""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from pipeline.quickstart_corpus_code import code
from pipeline.quickstart_corpus_instructions import instruction
from pipeline.quickstart_corpus_problems import Problem, problem
from pipeline.quickstart_corpus_prose import prose
from pipeline.quickstart_corpus_words import Words

TOKENS = 150_000
"""Roughly, counted by the quickstart's teacher with its chat template."""

_ROWS_PER_MILLION = {"instructions": 3200, "problems": 2200, "prose": 2200, "code": 1100}

Row = dict[str, Any]


def corpus_lines(tokens: int = TOKENS, seed: int = 0) -> Iterator[str]:
    """Lines of a .jsonl file of about so many tokens, the kinds mixed evenly."""
    kinds = {kind: _distinct(kind, seed) for kind in _MAKERS}
    for kind in _order(tokens):
        yield json.dumps(next(kinds[kind]), ensure_ascii=False) + "\n"


def problems(count: int, seed: int = 0) -> list[Problem]:
    """Word problems alone; another seed gives others."""
    return [problem(Words(seed, f"problems {number}")) for number in range(count)]


def _order(tokens: int) -> list[str]:
    """The kind of each row, every kind spread evenly over the corpus."""
    sizes = {kind: max(1, tokens * rows // 10**6) for kind, rows in _ROWS_PER_MILLION.items()}
    places = [
        ((number + 0.5) / size, kind) for kind, size in sizes.items() for number in range(size)
    ]
    return [kind for _, kind in sorted(places)]


def _distinct(kind: str, seed: int) -> Iterator[Row]:
    """Rows of one kind; an item that came before is left out."""
    seen: set[str] = set()
    made = 0
    for number in count():
        content = _MAKERS[kind](Words(seed, f"{kind} {number}"))
        form = json.dumps(content)
        if form not in seen:
            seen.add(form)
            yield {"id": f"{kind}-{made:05d}", "source": kind, **content}
            made += 1


def _conversation(*turns: str) -> Row:
    roles = ("user", "assistant")
    return {
        "messages": [
            {"role": roles[index % 2], "content": content} for index, content in enumerate(turns)
        ]
    }


def _instructions(words: Words) -> Row:
    return _conversation(*instruction(words))


def _problems(words: Words) -> Row:
    found = problem(words)
    return {**_conversation(found.question, found.solution), "answer": found.gold}


def _prose(words: Words) -> Row:
    return {"text": prose(words)}


def _code(words: Words) -> Row:
    return {"text": code(words)}


_MAKERS = {
    "instructions": _instructions,
    "problems": _problems,
    "prose": _prose,
    "code": _code,
}
