"""Word problems: a question, the way to its answer, and the answer to check against."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.quickstart_corpus_words import (
    CONTAINERS,
    DAYS,
    SHOPS,
    THINGS,
    TOWNS,
    Words,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A word problem.

    Attributes:
        question: what is asked.
        rationale: the steps to the answer, in sentences.
        gold: the answer, a whole number in digits.
    """

    question: str
    rationale: str
    gold: str

    @property
    def solution(self) -> str:
        """What a good student would say."""
        return f"{self.rationale} The answer is {self.gold}."


def problem(words: Words) -> Problem:
    """One problem of any sort."""
    question, steps, gold = words.pick(SORTS)(words)
    return Problem(question=question, rationale=" ".join(steps), gold=str(gold))


Made = tuple[str, list[str], int]


def _packing(words: Words) -> Made:
    name, she, _ = words.person()
    things, containers = words.pick(THINGS), words.pick(CONTAINERS)
    count, each, extra = words.number(3, 12), words.number(4, 15), words.number(2, 20)
    question = (
        f"{name} fills {count} {containers} with {each} {things} each and has {extra} {things} "
        f"left over. How many {things} did {name} have at the start?"
    )
    steps = [
        f"The {containers} hold {count} × {each} = {count * each} {things}.",
        f"With the {extra} left over, {she} had {count * each} + {extra} = {count * each + extra}.",
    ]
    return question, steps, count * each + extra


def _shopping(words: Words) -> Made:
    name, she, _ = words.person()
    first, second = words.some(THINGS, 2)
    n, m, price, cost = (words.number(2, 9) for _ in range(4))
    paid = -(-(n * price + m * cost) // 10) * 10 + 10 * words.number(0, 2)
    total = n * price + m * cost
    question = (
        f"At the {words.pick(SHOPS)}, {name} buys {n} {first} for ${price} each and {m} {second} "
        f"for ${cost} each, and pays with ${paid}. How much change does {she} get?"
    )
    steps = [
        f"The {first} cost {n} × {price} = {n * price} dollars.",
        f"The {second} cost {m} × {cost} = {m * cost} dollars.",
        f"Together that is {total} dollars, and {paid} - {total} = {paid - total}.",
    ]
    return question, steps, paid - total


def _travel(words: Words) -> Made:
    here, there = words.some(TOWNS, 2)
    vehicle = words.pick(("train", "bus", "cyclist", "lorry", "ferry"))
    speed = words.number(2, 9) * (5 if vehicle == "cyclist" else 10)
    hours, rest = words.number(2, 6), words.number(1, 4) * 10
    question = (
        f"A {vehicle} leaves {here} and travels at {speed} kilometres per hour for {hours} hours. "
        f"{there} is {rest} kilometres further on. How far is it from {here} to {there}?"
    )
    steps = [
        f"In {hours} hours the {vehicle} covers {speed} × {hours} = {speed * hours} kilometres.",
        f"Then {rest} kilometres remain: {speed * hours} + {rest} = {speed * hours + rest}.",
    ]
    return question, steps, speed * hours + rest


def _sharing(words: Words) -> Made:
    names = words.people(words.number(2, 5))
    things, each, eaten = words.pick(THINGS), words.number(4, 14), words.number(1, 9)
    total = each * len(names) + eaten
    group = f"{', '.join(names[:-1])} and {names[-1]}"
    question = (
        f"{group} find {total} {things}. They give {eaten} away and share the rest equally. "
        f"How many {things} does each of them get?"
    )
    steps = [
        f"After giving {eaten} away there are {total} - {eaten} = {total - eaten} {things}.",
        f"There are {len(names)} people, so each gets {total - eaten} / {len(names)} = {each}.",
    ]
    return question, steps, each


def _saving(words: Words) -> Made:
    name, she, her = words.person()
    start, weekly, weeks = words.number(5, 60), words.number(3, 15), words.number(3, 12)
    spent = words.number(2, start + weekly * weeks - 1)
    saved = start + weekly * weeks
    question = (
        f"{name} has {start} dollars in {her} money box and adds {weekly} dollars every week. "
        f"After {weeks} weeks {she} spends {spent} dollars. How much money is left?"
    )
    steps = [
        f"In {weeks} weeks {name} adds {weeks} × {weekly} = {weeks * weekly} dollars.",
        f"That makes {start} + {weeks * weekly} = {saved} dollars.",
        f"After spending there are {saved} - {spent} = {saved - spent} dollars.",
    ]
    return question, steps, saved - spent


def _garden(words: Words) -> Made:
    width, length = words.number(3, 20), words.number(5, 30)
    what = words.pick(("garden", "playground", "meadow", "courtyard", "field"))
    if words.chance(50):
        question = (
            f"A rectangular {what} is {length} metres long and {width} metres wide. "
            "How many metres of fence go around it?"
        )
        around = 2 * (length + width)
        steps = [
            f"One long and one short side together are {length} + {width} = {length + width} m.",
            f"The fence goes along two of each: 2 × {length + width} = {around}.",
        ]
        return question, steps, around
    question = (
        f"A rectangular {what} measures {length} metres by {width} metres. "
        "What is its area in square metres?"
    )
    return question, [f"The area is {length} × {width} = {length * width}."], length * width


def _ages(words: Words) -> Made:
    older, younger = words.people(2)
    age, gap, later = words.number(4, 15), words.number(2, 12), words.number(2, 10)
    question = (
        f"{younger} is {age} years old. {older} is {gap} years older. "
        f"How old will {older} be in {later} years?"
    )
    steps = [
        f"{older} is {age} + {gap} = {age + gap} years old now.",
        f"In {later} years that will be {age + gap} + {later} = {age + gap + later}.",
    ]
    return question, steps, age + gap + later


def _discount(words: Words) -> Made:
    percent, price = words.pick((10, 20, 25, 50)), words.number(2, 15) * 20
    what = words.pick(("coat", "lamp", "bicycle", "guitar", "tent", "chair", "camera"))
    off = price * percent // 100
    question = (
        f"A {what} costs {price} dollars. On {words.pick(DAYS)} it is {percent}% cheaper. "
        "What does it cost then?"
    )
    steps = [
        f"{percent}% of {price} is {off}.",
        f"So the {what} costs {price} - {off} = {price - off} dollars.",
    ]
    return question, steps, price - off


def _reading(words: Words) -> Made:
    name, she, _ = words.person()
    pages, first, days = words.number(8, 30), words.number(10, 40), words.number(3, 9)
    total = first + pages * days
    question = (
        f"{name} reads a book of {total} pages. On the first day {she} reads {first} pages, and "
        f"after that {pages} pages a day. How many more days does {she} need?"
    )
    steps = [
        f"After the first day {total} - {first} = {total - first} pages are left.",
        f"At {pages} pages a day that takes {total - first} / {pages} = {days} days.",
    ]
    return question, steps, days


def _recipe(words: Words) -> Made:
    people, factor, grams = words.number(2, 6), words.number(2, 5), words.number(5, 30) * 10
    food = words.pick(("flour", "rice", "sugar", "potatoes", "lentils", "pasta"))
    question = (
        f"A recipe for {people} people needs {grams} grams of {food}. "
        f"How many grams are needed for {people * factor} people?"
    )
    steps = [
        f"{people * factor} people are {people * factor} / {people} = {factor} times as many.",
        f"So it takes {factor} × {grams} = {factor * grams} grams.",
    ]
    return question, steps, factor * grams


def _seats(words: Words) -> Made:
    rows, each, taken = words.number(6, 20), words.number(5, 15), words.number(10, 29)
    where = words.pick(("cinema", "theatre", "lecture hall", "school hall", "circus tent"))
    question = (
        f"A {where} has {rows} rows with {each} seats each, and {taken} seats are taken. "
        "How many seats are free?"
    )
    steps = [
        f"There are {rows} × {each} = {rows * each} seats in all.",
        f"Of these, {rows * each} - {taken} = {rows * each - taken} are free.",
    ]
    return question, steps, rows * each - taken


def _average(words: Words) -> Made:
    name, _, her = words.person()
    mean, shifts = words.number(10, 40), [words.number(1, 6) for _ in range(2)]
    values = [mean - shifts[0], mean + shifts[0], mean - shifts[1], mean + shifts[1]]
    unit = words.pick(("points", "kilometres", "minutes", "pages"))
    shown = ", ".join(map(str, values[:3]))
    question = (
        f"{name} wrote down {her} results of four days: {shown} and {values[3]} {unit}. "
        "What is the average?"
    )
    steps = [
        f"The sum is {' + '.join(map(str, values))} = {sum(values)}.",
        f"Divided by 4 that is {sum(values)} / 4 = {mean}.",
    ]
    return question, steps, mean


def _work(words: Words) -> Made:
    name, she, _ = words.person()
    wage, hours, days = words.number(9, 25), words.number(2, 8), words.number(2, 6)
    question = (
        f"{name} earns {wage} dollars an hour and works {hours} hours a day. "
        f"How much does {she} earn in {days} days?"
    )
    steps = [
        f"A day brings {hours} × {wage} = {hours * wage} dollars.",
        f"{days} days bring {days} × {hours * wage} = {days * hours * wage} dollars.",
    ]
    return question, steps, days * hours * wage


SORTS: tuple[Callable[[Words], Made], ...] = (
    *(_packing, _shopping, _travel, _sharing, _saving, _garden, _ages),
    *(_discount, _reading, _recipe, _seats, _average, _work),
)
