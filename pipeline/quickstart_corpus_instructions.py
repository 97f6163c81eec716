"""Instructions with good answers, some of them in several turns."""

import json
from collections.abc import Callable

from pipeline.quickstart_corpus_facts import SUBJECTS
from pipeline.quickstart_corpus_tasks import EVENTS, EXCUSES, OFFERS, REVIEWS, TASKS, VERBS
from pipeline.quickstart_corpus_words import (
    ANIMALS,
    COLOURS,
    DAYS,
    OBJECTS,
    PLACES,
    THINGS,
    TOWNS,
    TRADES,
    Words,
    a,
    listed,
    sentence,
)

Turns = list[str]
"""User and assistant in turn, the user first."""


def instruction(words: Words) -> Turns:
    """A conversation of one or two questions with their answers."""
    return words.pick(SORTS)(words)


def _sorting(words: Words) -> Turns:
    group, name = words.pick(
        ((THINGS, "words"), (TOWNS, "towns"), (ANIMALS, "animals"), (OBJECTS, "words"))
    )
    chosen = words.some(group, words.number(4, 7))
    order = sorted(chosen)
    turns = [
        f"Sort these {name} alphabetically: {', '.join(chosen)}.",
        f"In alphabetical order: {', '.join(order)}.",
    ]
    if words.chance(50):
        turns += ["And the other way round?", f"In reverse: {', '.join(reversed(order))}."]
    return turns


def _numbers(words: Words) -> Turns:
    numbers = [words.number(1, 99) for _ in range(words.number(4, 7))]
    shown = ", ".join(map(str, numbers))
    question, answer = words.pick(
        (
            ("Which of these numbers is the largest", f"The largest is {max(numbers)}."),
            ("Which of these numbers is the smallest", f"The smallest is {min(numbers)}."),
            (
                "Which of these numbers are even",
                f"The even ones are {listed([str(n) for n in numbers if n % 2 == 0])}."
                if any(n % 2 == 0 for n in numbers)
                else "None of them is even.",
            ),
            (
                "What do these numbers look like in ascending order",
                f"In ascending order: {', '.join(map(str, sorted(numbers)))}.",
            ),
        )
    )
    return [f"{question}? {shown}", answer]


def _tense(words: Words) -> Turns:
    name, *_ = words.person()
    present, past, future = words.pick(VERBS)
    rest = f"{words.pick(_NEAR)} {words.pick(PLACES)}"
    wanted, form = words.pick((("past", past), ("future", f"will {future}")))
    return [
        f'Put this sentence into the {wanted} tense: "{name} {present} {rest}."',
        f'"{name} {form} {rest}."',
    ]


_NEAR = ("near", "at", "not far from", "behind", "in front of")


def _extraction(words: Words) -> Turns:
    name, town, day = words.pick(words.people(3)), words.pick(TOWNS), words.pick(DAYS)
    hour, what = words.number(8, 20), words.pick(EVENTS)
    text = words.pick(
        (
            f"{name} invites everyone to {what} in {town} on {day} at {hour}:00.",
            f"On {day} there will be {what} in {town}. It starts at {hour}:00; ask for {name}.",
            f"Don't forget: {day}, {hour}:00, {what} with {name}, this time in {town}.",
        )
    )
    record = {"person": name, "place": town, "day": day, "time": f"{hour}:00"}
    if words.chance(50):
        return [
            f"Extract person, place, day and time from this text as JSON.\n\n{text}",
            json.dumps(record, indent=2),
        ]
    answer = "\n".join(f"- {key.capitalize()}: {value}" for key, value in record.items())
    return [f"List the person, place, day and time that this text mentions.\n\n{text}", answer]


def _email(words: Words) -> Turns:
    sender, receiver = words.people(2)
    day, other = words.some(DAYS, 2)
    why = words.pick(EXCUSES)
    question = (
        f"Write a short, friendly e-mail from {sender} to {receiver}: the meeting on {day} has to "
        f"move to {other}, because {why[0]}."
    )
    answer = (
        f"Subject: Our meeting on {day}\n\nHi {receiver},\n\n"
        f"I am afraid that I cannot make it on {day}: {why[1]}. "
        f"{words.pick(OFFERS).format(other=other)}\n\n"
        f"{words.pick(('Best wishes', 'Kind regards', 'Thanks and see you soon'))},\n{sender}"
    )
    return [question, answer]


def _explaining(words: Words) -> Turns:
    subject = words.pick(SUBJECTS)
    facts = words.some(subject.facts, 3)
    opening = words.pick(("Can you tell me", "Please explain", "I would like to know"))
    mark = "?" if opening.startswith("Can") else "."
    turns = [f"{opening} {subject.question}{mark}", " ".join(facts)]
    if words.chance(60):
        left = [fact for fact in subject.facts if fact not in facts]
        turns += [
            words.pick(("Is there more to know?", "Anything else?", "What should I do with that?")),
            " ".join([*left, subject.advice]),
        ]
    return turns


def _odd_one(words: Words) -> Turns:
    groups = {"animal": ANIMALS, "colour": COLOURS, "town": TOWNS, "trade": TRADES}
    kind, other = words.some(sorted(groups), 2)
    same, odd = words.some(groups[kind], 3), words.pick(groups[other])
    mixed = words.some([*same, odd], 4)
    return [
        f"Which word does not belong to the others: {', '.join(mixed)}? Say why.",
        f"{sentence(odd)} does not belong: it is {a(other)}, "
        f"while {listed([w for w in mixed if w != odd])} are {kind}s.",
    ]


def _feeling(words: Words) -> Turns:
    name, she, _ = words.person()
    text, feeling, why = words.pick(REVIEWS)
    thing = words.pick(OBJECTS)
    return [
        f"Is this review positive or negative? Give one reason.\n\n"
        f'"{text.format(thing=thing, name=name, She=sentence(she))}"',
        f"{feeling}, because {why.format(thing=thing)}.",
    ]


def _rewriting(words: Words) -> Turns:
    name, she, her = words.person()
    thing, place, colour = words.pick(OBJECTS), words.pick(PLACES), words.pick(COLOURS)
    long = (
        f"{name} had lost {her} {thing}. {sentence(she)} looked for it at {place}. "
        f"{sentence(she)} found it there. It was {colour} with dust."
    )
    short = f"{name} found {her} lost {thing} at {place}, {colour} with dust."
    return [f"Say this in one sentence: {long}", short]


def _units(words: Words) -> Turns:
    source, target, factor = words.pick(
        (
            ("kilometres", "metres", 1000),
            ("hours", "minutes", 60),
            ("kilograms", "grams", 1000),
            ("weeks", "days", 7),
            ("metres", "centimetres", 100),
            ("minutes", "seconds", 60),
        )
    )
    amount = words.number(2, 40)
    return [
        f"How many {target} are {amount} {source}?",
        f"One of the {source} has {factor} {target}, so {amount} {source} are "
        f"{amount} × {factor} = {amount * factor} {target}.",
    ]


def _list_of_steps(words: Words) -> Turns:
    task, steps = words.pick(TASKS)
    taken = steps[: words.number(4, len(steps))]
    numbered = "\n".join(f"{n}. {step}" for n, step in enumerate(taken, 1))
    return [f"How do I {task}? Give me {len(taken)} short steps.", numbered]


def _counting(words: Words) -> Turns:
    word = words.pick([*OBJECTS, *THINGS, *TRADES])
    vowels = [letter for letter in word if letter in "aeiou"]
    return [
        f'How many letters and how many vowels has the word "{word}"?',
        f'"{word}" has {len(word)} letters. Its vowels are {", ".join(vowels)}, so there are '
        f"{len(vowels)} vowels.",
    ]


def _name_ideas(words: Words) -> Turns:
    trade, town = words.pick(TRADES), words.pick(TOWNS)
    first, second, third = words.some(OBJECTS, 3)
    colour, animal = words.pick(COLOURS), words.pick(ANIMALS)
    return [
        f"I am {a(trade)} and open a shop in {town}. Suggest three names for it.",
        f"1. The {colour.capitalize()} {first.capitalize()}\n"
        f"2. {animal.capitalize()} & {second.capitalize()}\n"
        f"3. The {third.capitalize()} of {town}",
    ]


SORTS: tuple[Callable[[Words], Turns], ...] = (
    *(_sorting, _numbers, _tense, _extraction, _email, _explaining, _odd_one, _feeling),
    *(_rewriting, _units, _list_of_steps, _counting, _name_ideas),
)
