"""Small instructions with answers that are right by construction."""

from collections.abc import Callable
from random import Random

from pipeline.quickstart_words import (
    ANIMALS,
    CAPITALS,
    COLOURS,
    MOODS,
    NAMES,
    OPPOSITES,
    PLACES,
    THINGS,
    TRADES,
)

Turns = list[tuple[str, str]]
"""Pairs of what the user says and what the assistant answers."""


def conversation(random: Random) -> Turns:
    """One to three turns about unrelated small tasks."""
    turns = random.choice((1, 1, 2, 3))
    return [random.choice(KINDS)(random) for _ in range(turns)]


def _ask(random: Random, *ways: str) -> str:
    return random.choice(ways)


def _capital(random: Random) -> tuple[str, str]:
    country, city = random.choice(sorted(CAPITALS.items()))
    question = _ask(
        random,
        f"What is the capital of {country}?",
        f"Which city is the capital of {country}?",
        f"Name the capital of {country}.",
    )
    return question, f"The capital of {country} is {city}."


def _opposite(random: Random) -> tuple[str, str]:
    word, other = random.choice(sorted(OPPOSITES.items()))
    question = _ask(
        random,
        f"What is the opposite of '{word}'?",
        f"Give me an antonym of the word '{word}' and use it in a sentence.",
    )
    answer = f"The opposite of '{word}' is '{other}'."
    if "sentence" in question:
        name = random.choice(NAMES)
        answer += f" For example: {name} did not find the work {word}, but {other}."
    return question, answer


def _sorting(random: Random) -> tuple[str, str]:
    words = random.sample(ANIMALS + COLOURS, random.randint(3, 6))
    question = f"Sort these words alphabetically: {', '.join(words)}."
    return question, f"In alphabetical order: {', '.join(sorted(words))}."


def _choosing(random: Random) -> tuple[str, str]:
    kind, members, others = random.choice(
        (("animals", ANIMALS, THINGS), ("colours", COLOURS, TRADES), ("trades", TRADES, ANIMALS))
    )
    wanted = random.sample(members, random.randint(1, 3))
    mixed = wanted + random.sample(others, random.randint(2, 4))
    random.shuffle(mixed)
    found = [word for word in mixed if word in wanted]
    question = f"Which of these are {kind}: {', '.join(mixed)}?"
    return question, f"The {kind} in the list are: {', '.join(found)}."


def _listing(random: Random) -> tuple[str, str]:
    trade, place = random.choice(TRADES), random.choice(PLACES)
    things = random.sample(THINGS, 3)
    question = f"A {trade} is going to {place}. List three things to take along."
    lines = "\n".join(f"{number}. {thing}" for number, thing in enumerate(things, start=1))
    return question, f"The {trade} could take:\n{lines}"


def _sum(random: Random) -> tuple[str, str]:
    left, right = random.randint(2, 90), random.randint(2, 90)
    question = _ask(
        random, f"What is {left} plus {right}?", f"Add {left} and {right}.", f"{left} + {right} = ?"
    )
    return question, f"{left} plus {right} is {left + right}."


def _rewrite(random: Random) -> tuple[str, str]:
    name, trade, mood = random.choice(NAMES), random.choice(TRADES), random.choice(MOODS)
    place = random.choice(PLACES)
    article = "an" if mood[0] in "aeiou" else "a"
    question = (
        f"Put these facts into one sentence. Name: {name}. Trade: {trade}. Character: {mood}. "
        f"Place of work: {place}."
    )
    return question, f"{name} is {article} {mood} {trade} who works at {place}."


def _extract(random: Random) -> tuple[str, str]:
    name, thing = random.choice(NAMES), random.choice(THINGS)
    count, place = random.randint(2, 60), random.choice(PLACES)
    sentence = f"Yesterday {name} carried {count} {thing} to {place}."
    what, answer = random.choice(
        (
            ("Who is it about", f"It is about {name}."),
            ("How many things were carried", f"{name} carried {count} {thing}."),
            ("Where did it happen", f"It happened at {place}."),
        )
    )
    return f"Read the sentence: '{sentence}' {what}?", answer


KINDS: tuple[Callable[[Random], tuple[str, str]], ...] = (
    *(_capital, _opposite, _sorting, _choosing),
    *(_listing, _sum, _rewrite, _extract),
)
