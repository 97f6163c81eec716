"""Word problems of one step, for the quickstart's teacher to answer in its own words.

The problems of the corpus take several steps, which a teacher of 135M parameters hardly ever gets
right. Of these, with three solved ones before each, it solves about a quarter: enough for something
to be left when only right answers are kept.
"""

import json
from collections.abc import Iterator
from itertools import count, islice

from pipeline.quickstart_corpus_words import THINGS, Words

PROMPTS = 48

_SOLVED = (
    "Lucy has 3 cakes and bakes 4 more. How many cakes does she have now?",
    "Lucy has 3 + 4 = 7 cakes. The answer is 7.",
    "Peter has 9 shirts and gives away 2. How many shirts does he have left?",
    "Peter has 9 - 2 = 7 shirts. The answer is 7.",
    "Eva has 6 pens and Carl has 5 pens. How many pens do they have together?",
    "Together they have 6 + 5 = 11 pens. The answer is 11.",
)
_SHOWN = [
    {"role": ("user", "assistant")[turn % 2], "content": text} for turn, text in enumerate(_SOLVED)
]
"""The turns that show how to answer."""

Prompt = tuple[str, int]
"""What is asked, and its answer."""


def prompt_lines(number: int = PROMPTS, seed: int = 0) -> Iterator[str]:
    """Lines of a .jsonl file with `messages` and `gold`, no two problems alike."""
    for made, (prompt, gold) in enumerate(islice(_distinct(seed), number)):
        row = {"id": f"rationales-{made:05d}", "source": "rationales"}
        turns = [*_SHOWN, {"role": "user", "content": prompt}]
        yield json.dumps({**row, "messages": turns, "gold": str(gold)}) + "\n"


def _distinct(seed: int) -> Iterator[Prompt]:
    seen: set[str] = set()
    for number in count():
        words = Words(seed, f"rationales {number}")
        prompt, gold = words.pick(SORTS)(words)
        if prompt not in seen:
            seen.add(prompt)
            yield prompt, gold


def _more(words: Words) -> Prompt:
    name, she, _ = words.person()
    things, has, gets = words.pick(THINGS), words.number(2, 9), words.number(2, 9)
    prompt = (
        f"{name} has {has} {things} and buys {gets} more. How many {things} does {she} have now?"
    )
    return prompt, has + gets


def _fewer(words: Words) -> Prompt:
    name, she, _ = words.person()
    things, has = words.pick(THINGS), words.number(5, 15)
    gives = words.number(1, has - 2)
    prompt = (
        f"{name} has {has} {things} and gives away {gives}. How many {things} does {she} have left?"
    )
    return prompt, has - gives


def _together(words: Words) -> Prompt:
    one, other = words.people(2)
    things, first, second = words.pick(THINGS), words.number(2, 12), words.number(2, 12)
    prompt = (
        f"{one} has {first} {things} and {other} has {second} {things}. "
        f"How many {things} do they have together?"
    )
    return prompt, first + second


SORTS = (_more, _fewer, _together)
