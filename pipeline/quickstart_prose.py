"""Short stories out of a small grammar: a person, a wish, an obstacle, a helper, an end."""

from random import Random

from pipeline.quickstart_words import (
    ANIMALS,
    COLOURS,
    MOODS,
    NAMES,
    PLACES,
    THINGS,
    TRADES,
    WEATHER,
)

OPENINGS = (
    "{name} was a {mood} {trade} who lived near {place}.",
    "Near {place} there lived a {trade} called {name}, known to everyone as {mood}.",
    "When {name} was still young, nobody believed that a {mood} child would become a {trade}.",
    "The {trade} {name} woke before dawn, as on every day of that year.",
)
WISHES = (
    "More than anything, {name} wanted to collect {count} {things} before the winter came.",
    "There was only one wish left: to see {other_place} once, and to come back with {things}.",
    "For weeks {name} had been thinking about the {colour} door at {other_place}.",
    "A letter had come that morning. It promised {count} {things} to whoever could explain it.",
)
OBSTACLES = (
    "But {weather} came down from the hills, and the road was closed for {days} days.",
    "On the way {weather} surprised them, and all the {things} were lost.",
    "The {other_trade} at {other_place} did not trust strangers and kept the gate shut.",
    "Nobody could say where the path began, and the map was {days} years old.",
)
HELPERS = (
    "A {colour} {animal} sat by the road and watched without fear.",
    "Then {friend}, a {other_trade}, offered to help and asked for nothing in return.",
    "It was the {animal} that found the way, step by step, as if it had always known it.",
    "'Wait until the evening,' said {friend}. 'The {animal} always leaves by then.'",
)
THOUGHTS = (
    "{name} thought about it for a long time and said nothing.",
    "It is easier to begin than to go on, {name} thought, and went on.",
    "There are things that one learns only by doing them badly first.",
    "Far away a bell rang {days} times.",
)
ENDINGS = (
    "In the end the {things} were never found, and it did not matter any more.",
    "They reached {other_place} at night, and the {colour} light in the window was still burning.",
    "Since then {name} has told the story often, and every time the {animal} becomes larger.",
    "The next morning {name} went back to work, a little more {other_mood} than before.",
)


def story(random: Random) -> str:
    """One to three paragraphs with the same people in them."""
    words = _words(random)
    paragraphs = [
        _paragraph(random, words, OPENINGS, WISHES),
        _paragraph(random, words, OBSTACLES, THOUGHTS, HELPERS),
        _paragraph(random, words, THOUGHTS, ENDINGS),
    ]
    return "\n\n".join(paragraphs[: random.choice((2, 3, 3))])


def _words(random: Random) -> dict[str, object]:
    name, friend = random.sample(NAMES, 2)
    trade, other_trade = random.sample(TRADES, 2)
    place, other_place = random.sample(PLACES, 2)
    mood, other_mood = random.sample(MOODS, 2)
    return {
        **{"name": name, "friend": friend, "trade": trade, "other_trade": other_trade},
        **{"place": place, "other_place": other_place, "mood": mood, "other_mood": other_mood},
        "things": random.choice(THINGS),
        "animal": random.choice(ANIMALS),
        "colour": random.choice(COLOURS),
        "weather": random.choice(WEATHER),
        "count": random.randint(3, 40),
        "days": random.randint(2, 12),
    }


def _paragraph(random: Random, words: dict[str, object], *parts: tuple[str, ...]) -> str:
    return " ".join(random.choice(part).format(**words) for part in parts)
