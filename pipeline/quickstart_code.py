"""Small Python functions with docstrings and examples; every example is computed, not guessed."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from pipeline.quickstart_words import ANIMALS, COLOURS

VERBS = ("get", "compute", "find", "make", "collect", "return")
NUMBERS = ("numbers", "values", "items", "scores", "weights", "prices")
WORDS = ("words", "names", "labels", "lines", "keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A function in words and in code: name, docstring, body lines over `data` and `n`."""

    name: str
    text: str
    body: tuple[str, ...]
    apply: Callable[[list[Any], int], Any]
    of_words: bool = False


RECIPES = (
    Recipe(
        name="above",
        text="Return the {data} greater than {n}.",
        body=("return [x for x in {data} if x > {n}]",),
        apply=lambda data, n: [x for x in data if x > n],
    ),
    Recipe(
        name="scaled",
        text="Return all {data} multiplied by {n}.",
        body=("result = []", "for x in {data}:", "    result.append(x * {n})", "return result"),
        apply=lambda data, n: [x * n for x in data],
    ),
    Recipe(
        name="count_multiples",
        text="Count how many of the {data} are divisible by {n}.",
        body=(
            *("count = 0", "for x in {data}:"),
            *("    if x % {n} == 0:", "        count += 1", "return count"),
        ),
        apply=lambda data, n: sum(x % n == 0 for x in data),
    ),
    Recipe(
        name="running_total",
        text="Return the running totals of the {data}, starting at {n}.",
        body=(
            *("total = {n}", "totals = []", "for x in {data}:"),
            *("    total += x", "    totals.append(total)", "return totals"),
        ),
        apply=lambda data, n: [n + sum(data[: i + 1]) for i in range(len(data))],
    ),
    Recipe(
        name="largest",
        text="Return the {n} largest {data}, largest first.",
        body=("ordered = sorted({data}, reverse=True)", "return ordered[:{n}]"),
        apply=lambda data, n: sorted(data, reverse=True)[:n],
    ),
    Recipe(
        name="longer_than",
        text="Return the {data} with more than {n} letters.",
        body=("return [word for word in {data} if len(word) > {n}]",),
        apply=lambda data, n: [word for word in data if len(word) > n],
        of_words=True,
    ),
    Recipe(
        name="first_letters",
        text="Return the first {n} letters of each of the {data}.",
        body=("return [word[:{n}] for word in {data}]",),
        apply=lambda data, n: [word[:n] for word in data],
        of_words=True,
    ),
    Recipe(
        name="by_length",
        text="Group the {data} by their length; lengths below {n} are left out.",
        body=(
            *("groups = {{}}", "for word in {data}:", "    if len(word) >= {n}:"),
            *("        groups.setdefault(len(word), []).append(word)", "return groups"),
        ),
        apply=lambda data, n: {
            k: [w for w in data if len(w) == k]
            for k in dict.fromkeys(len(w) for w in data if len(w) >= n)
        },
        of_words=True,
    ),
)


def module(random: Random) -> str:
    """A piece of Python: one to three functions, each with a docstring and an example."""
    recipes = random.sample(RECIPES, random.choice((1, 2, 2, 3)))
    return "\n\n".join(_function(random, recipe) for recipe in recipes)


def _function(random: Random, recipe: Recipe) -> str:
    data_name = random.choice(WORDS if recipe.of_words else NUMBERS)
    n = random.randint(2, 6)
    name = f"{random.choice(VERBS)}_{recipe.name}"
    example = _example(random, recipe)
    names = {"data": data_name, "n": "n"}
    result = recipe.apply(example, n)
    lines = [
        f"def {name}({data_name}, n={n}):",
        f'    """{recipe.text.format(**names)}',
        "",
        f"    >>> {name}({example!r}, {n})",
        f"    {result!r}",
        '    """',
        *(f"    {line.format(**names)}" for line in recipe.body),
    ]
    return "\n".join(lines) + "\n"


def _example(random: Random, recipe: Recipe) -> list[Any]:
    if recipe.of_words:
        return random.sample(ANIMALS + COLOURS, random.randint(3, 5))
    return [random.randint(1, 30) for _ in range(random.randint(3, 6))]
