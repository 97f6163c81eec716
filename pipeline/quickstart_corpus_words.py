"""Words that the quickstart's corpus is made of, and a seeded way to pick them."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

SHE = (
    *("Ada", "Mira", "Nora", "Lena", "Zoe", "Ines", "Hana", "Ruth", "Clara", "Yara"),
    *("Maya", "Tess", "Olga", "Priya", "Sofia", "Amina", "Greta", "Ivy", "Leila", "Rosa"),
)
HE = (
    *("Tom", "Ben", "Omar", "Luis", "Jonas", "Kofi", "Ravi", "Milo", "Hugo", "Sam"),
    *("Felix", "Noah", "Ivan", "Theo", "Emil", "Arun", "Diego", "Paul", "Karim", "Owen"),
)
THINGS = (
    *("apples", "pencils", "marbles", "stickers", "cookies", "books", "shells", "coins"),
    *("stamps", "tomatoes", "candles", "postcards", "buttons", "lemons", "tickets", "cups"),
    *("roses", "bricks", "envelopes", "muffins", "eggs", "bottles", "balloons", "cards"),
)
CONTAINERS = ("boxes", "bags", "baskets", "crates", "shelves", "trays", "jars", "drawers")
SHOPS = ("bakery", "market", "bookshop", "garden centre", "museum shop", "corner store", "fair")
TOWNS = (
    *("Alder", "Brookfield", "Castleton", "Dunmore", "Eastwick", "Fernhill", "Glenport"),
    *("Harwood", "Inverness", "Juniper Bay", "Kingsford", "Larkspur", "Millbrook", "Norhaven"),
)
ANIMALS = (
    *("fox", "heron", "goat", "otter", "donkey", "owl", "hedgehog", "swan", "terrier", "cat"),
    *("badger", "raven", "pony", "tortoise", "squirrel", "goose"),
)
TRADES = (
    *("baker", "clockmaker", "gardener", "ferryman", "teacher", "carpenter", "weaver", "nurse"),
    *("librarian", "potter", "fisherman", "beekeeper", "painter", "cook", "postwoman", "farmer"),
)
PLACES = (
    *("the harbour", "the old mill", "the library", "the orchard", "the hill behind the church"),
    *("the railway station", "the market square", "the lighthouse", "the forest path"),
    *("the schoolyard", "the riverbank", "the attic", "the kitchen", "the workshop"),
)
WEATHER = (
    *("a light rain was falling", "the fog had not lifted", "the sun stood high"),
    *("a cold wind came from the north", "the first snow lay on the roofs", "the air was still"),
    *("thunder rolled somewhere far away", "the morning was clear and bright"),
)
SEASONS = ("spring", "summer", "autumn", "winter")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COLOURS = (
    *("red", "green", "blue", "yellow", "grey", "white", "brown", "orange", "purple", "black"),
)
OBJECTS = (
    *("lantern", "letter", "key", "map", "clock", "violin", "boat", "compass", "kite", "bell"),
    *("umbrella", "notebook", "mirror", "ladder", "basket", "telescope", "coat", "whistle"),
)


class Words:
    """Picks words and numbers; the same seed and purpose always give the same ones.

    Args of the constructor:
        seed: of the corpus.
        purpose: what is being made, such as "prose 12": its words do not depend on other items.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        self._random = random.Random(f"potstill {seed} {purpose}")

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        return self._random.choice(choices)

    def some(self, choices: Sequence[T], count: int) -> list[T]:
        """Several different ones, in random order."""
        return self._random.sample(choices, count)

    def number(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return self._random.randint(low, high)

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases."""
        return self._random.randrange(100) < percent

    def person(self) -> tuple[str, str, str]:
        """A name with its pronouns: ("Ada", "she", "her")."""
        if self.chance(50):
            return self.pick(SHE), "she", "her"
        return self.pick(HE), "he", "his"

    def people(self, count: int) -> list[str]:
        """Different names."""
        return self.some([*SHE, *HE], count)


def a(noun: str) -> str:
    """The noun with its article: "a goat", "an otter"."""
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


def listed(words: Sequence[str]) -> str:
    """Words as people list them: "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def sentence(text: str) -> str:
    """With a capital letter at its start."""
    return text[:1].upper() + text[1:]
