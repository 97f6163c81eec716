"""Prose from a small grammar: places, diaries, letters, explanations; stories stand beside it."""

from collections.abc import Callable

from pipeline.quickstart_corpus_facts import SUBJECTS
from pipeline.quickstart_corpus_story import story
from pipeline.quickstart_corpus_words import (
    ANIMALS,
    COLOURS,
    DAYS,
    OBJECTS,
    PLACES,
    SEASONS,
    TOWNS,
    TRADES,
    WEATHER,
    Words,
    a,
    sentence,
)

Paragraphs = list[list[str]]


def prose(words: Words) -> str:
    """A text of three or four paragraphs."""
    return "\n\n".join(" ".join(paragraph) for paragraph in words.pick(SORTS)(words))


def _place(words: Words) -> Paragraphs:
    town, other = words.some(TOWNS, 2)
    trade, second = words.some(TRADES, 2)
    return [
        [
            words.pick(
                (
                    f"{town} lies between two hills, an hour's walk from {other}.",
                    f"The road from {other} ends in {town}, where the river becomes wide.",
                    f"From the tower of {town} one can see as far as {other}.",
                )
            ),
            f"About {words.number(2, 90) * 100} people live there.",
            words.pick(_FAMOUS),
        ],
        [
            f"In {words.pick(SEASONS)} the streets are full of visitors, and "
            f"{words.pick(_HABITS)}.",
            f"The {trade} opens at {words.number(5, 9)} in the morning; the {second} comes later.",
            f"On {words.pick(DAYS)} there is a market near {words.pick(PLACES)}, "
            f"where one can buy {words.pick(_WARES)}.",
        ],
        [
            f"The houses are {words.pick(COLOURS)} and {words.pick(COLOURS)}. "
            + words.pick(_HOUSES),
            words.pick(_CLOSING).format(town=town),
        ],
    ]


_FAMOUS = (
    "It is known for its bridge, which has seven arches.",
    "It has no railway station, and the people like it that way.",
    "Its school is older than its church.",
    "Long ago salt was sold here, and the wide square is still called the Salt Yard.",
    "Until the great flood it was a larger town.",
)
_HABITS = (
    "every family rents out a room",
    "the boats leave before sunrise",
    "children sell lemonade at the gates",
    "it is hard to find a free chair in the cafés",
    "music can be heard until late at night",
)
_WARES = (
    "cheese, honey and warm bread",
    "old books and new baskets",
    "fish, if one comes early",
    "plums by the bucket",
    "wool in every colour",
)
_HOUSES = (
    "Most have a small garden with beans and roses.",
    "Their doors are low, because people used to be smaller.",
    "Under the roofs the swallows build their nests.",
    "Between them run narrow stairs down to the water.",
)
_CLOSING = (
    "Whoever has been to {town} once will come again.",
    "At night it is so quiet that one hears the river.",
    "There is not much to do in {town}, which is the best thing about it.",
    "The last bus leaves at nine, but hardly anyone takes it.",
)


def _diary(words: Words) -> Paragraphs:
    friend, other = words.people(2)
    day, place, thing = words.pick(DAYS), words.pick(PLACES), words.pick(OBJECTS)
    return [
        [f"{day}. {sentence(words.pick(WEATHER))}.", words.pick(_WAKING)],
        [
            f"I went to {place} with {friend}, who had brought {a(thing)}.",
            words.pick(_TALKS).format(friend=friend, other=other),
            f"It took us {words.number(2, 5)} hours, {words.pick(_EFFORTS)}.",
        ],
        [words.pick(_THOUGHTS).format(friend=friend, thing=thing), words.pick(_PLANS)],
    ]


_WAKING = (
    "I woke up too early and could not sleep again.",
    "I slept well, for the first time this week.",
    "The neighbours were arguing about the fence again.",
    "There was no milk, so I drank my coffee black.",
)
_TALKS = (
    "We talked about {other}, who is moving away in the autumn.",
    "{friend} did not say much, and neither did I; it was good to be quiet together.",
    "On the way we met {other} and had to explain everything twice.",
    "{friend} told me about the new job, the long hours and the kind people there.",
)
_EFFORTS = (
    "much longer than we had planned",
    "and in the end it was worth it",
    "because we took the wrong path twice",
    "and my feet still hurt",
)
_THOUGHTS = (
    "Tonight I keep thinking of the {thing}. Where did {friend} get it?",
    "I should write to my sister. It has been a month.",
    "I wonder whether {friend} noticed that I was tired.",
    "It was an ordinary day, and I want to remember it for that reason.",
)
_PLANS = (
    "Tomorrow I will begin with the kitchen.",
    "Tomorrow there is school, and nothing is ready.",
    "If the weather holds, we will go again next week.",
    "Now to bed.",
)


def _letter(words: Words) -> Paragraphs:
    sender, receiver = words.people(2)
    town, animal, thing = words.pick(TOWNS), words.pick(ANIMALS), words.pick(OBJECTS)
    return [
        [f"Dear {receiver},"],
        [
            words.pick(_GREETINGS),
            f"I have been in {town} for {words.number(2, 11)} weeks now, and {words.pick(_NEWS)}.",
            f"Yesterday I saw {a(animal)} near {words.pick(PLACES)} and had to think of you.",
        ],
        [
            f"Could you send me the {words.pick(COLOURS)} {thing} that I left in your hall? "
            + words.pick(_REASONS),
            words.pick(_QUESTIONS),
        ],
        [f"{words.pick(('With love', 'Warm wishes', 'Yours', 'See you soon'))},\n{sender}"],
    ]


_GREETINGS = (
    "Thank you for your long letter, which I have read three times.",
    "I am sorry that you had to wait so long for an answer.",
    "How are you, and how is the garden?",
    "You will be surprised to hear from me.",
)
_NEWS = (
    "I still get lost on the way to work",
    "the room is small but has a view of the water",
    "I am learning to cook, slowly",
    "everybody here speaks faster than I can think",
)
_REASONS = (
    "The evenings are long, and I miss it.",
    "I promised to show it to a friend.",
    "There is no hurry; next month will do.",
)
_QUESTIONS = (
    "Is the old clock still slow?",
    "Did you find someone for the roof?",
    "Will you come and visit me in the spring?",
    "What do the children say about the new teacher?",
)


def _explanation(words: Words) -> Paragraphs:
    subject = words.pick(SUBJECTS)
    opening = words.pick(
        (
            f"Many people ask {subject.question}. The answer is simpler than it seems.",
            f"Why write about {subject.name}? Because we meet it every day.",
            f"{sentence(subject.name)} is easy to observe and less easy to explain.",
        )
    )
    first = words.some(subject.facts, min(len(subject.facts), words.number(3, 4)))
    observed = (
        f"Last {words.pick(SEASONS)}, at {words.pick(PLACES)} in {words.pick(TOWNS)}, "
        f"{words.pick(_VISITS)}."
    )
    return [[opening], first, [observed, subject.advice]]


_VISITS = (
    "a class of twelve-year-olds saw it for themselves",
    "an old man explained it to me with two cups and a spoon",
    "I saw it without knowing what it was",
    "we measured it with a ruler and a watch",
)

SORTS: tuple[Callable[[Words], Paragraphs], ...] = (
    story,
    story,
    _place,
    _diary,
    _letter,
    _explanation,
)
