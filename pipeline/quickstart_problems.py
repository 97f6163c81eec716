"""Word problems with a worked rationale and an answer that can be checked."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pipeline.quickstart_words import NAMES, PLACES, THINGS, TRADES


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A question, the reasoning that leads to its answer, and the answer as a number."""

    question: str
    rationale: str
    gold: str

    @property
    def response(self) -> str:
        """What a good assistant says."""
        return f"{self.rationale} The answer is {self.gold}."


def problem(random: Random) -> Problem:
    """One problem of a random kind."""
    return random.choice(KINDS)(random)


def _shopping(random: Random) -> Problem:
    name, thing = random.choice(NAMES), random.choice(THINGS)
    count, price = random.randint(3, 12), random.randint(2, 15)
    paid = count * price + random.randint(1, 20)
    return Problem(
        question=f"{name} buys {count} {thing} at {price} coins each and pays with {paid} coins. "
        f"How many coins does {name} get back?",
        rationale=f"The {thing} cost {count} times {price}, which is {count * price} coins. "
        f"{name} pays {paid}, so the change is {paid} minus {count * price}, "
        f"which is {paid - count * price}.",
        gold=str(paid - count * price),
    )


def _sharing(random: Random) -> Problem:
    name, thing = random.choice(NAMES), random.choice(THINGS)
    friends, each, own = random.randint(2, 9), random.randint(2, 12), random.randint(1, 10)
    total = friends * each + own
    return Problem(
        question=f"{name} has {total} {thing}, keeps {own} and shares the rest equally among "
        f"{friends} friends. How many {thing} does each friend get?",
        rationale=f"After keeping {own}, {name} has {total} minus {own}, which is "
        f"{friends * each} {thing}. Divided among {friends} friends that is {each} for each.",
        gold=str(each),
    )


def _journey(random: Random) -> Problem:
    speed, hours, rest = random.randint(3, 9) * 10, random.randint(2, 6), random.randint(5, 40)
    place = random.choice(PLACES)
    return Problem(
        question=f"A bus drives towards {place} at {speed} kilometres per hour for {hours} hours, "
        f"and then {rest} kilometres more. How far does it drive in all?",
        rationale=f"In {hours} hours at {speed} kilometres per hour it drives {speed * hours} "
        f"kilometres. With {rest} more that makes {speed * hours + rest} kilometres.",
        gold=str(speed * hours + rest),
    )


def _ages(random: Random) -> Problem:
    older, younger = random.sample(NAMES, 2)
    age, gap, years = random.randint(4, 30), random.randint(2, 15), random.randint(2, 12)
    return Problem(
        question=f"{younger} is {age} years old. {older} is {gap} years older than {younger}. "
        f"How old will {older} be in {years} years?",
        rationale=f"{older} is {age} plus {gap}, which is {age + gap} years old now. In {years} "
        f"years {older} will be {age + gap} plus {years}, which is {age + gap + years}.",
        gold=str(age + gap + years),
    )


def _work(random: Random) -> Problem:
    trade, thing = random.choice(TRADES), random.choice(THINGS)
    daily, days, broken = random.randint(4, 20), random.randint(3, 9), random.randint(1, 9)
    return Problem(
        question=f"A {trade} makes {daily} {thing} a day for {days} days. Then {broken} of them "
        f"break. How many {thing} are left?",
        rationale=f"In {days} days the {trade} makes {daily} times {days}, which is "
        f"{daily * days} {thing}. When {broken} break, {daily * days - broken} are left.",
        gold=str(daily * days - broken),
    )


def _boxes(random: Random) -> Problem:
    thing = random.choice(THINGS)
    boxes, inside, extra = random.randint(3, 12), random.randint(4, 16), random.randint(1, 20)
    sold = random.randint(1, boxes - 1)
    left = (boxes - sold) * inside + extra
    return Problem(
        question=f"A shop has {boxes} boxes with {inside} {thing} each, and {extra} single ones. "
        f"It sells {sold} boxes. How many {thing} does it still have?",
        rationale=f"After the sale there are {boxes} minus {sold}, which is {boxes - sold} boxes. "
        f"They hold {boxes - sold} times {inside}, which is {(boxes - sold) * inside} {thing}. "
        f"With the {extra} single ones that makes {left}.",
        gold=str(left),
    )


KINDS: tuple[Callable[[Random], Problem], ...] = (
    *(_shopping, _sharing, _journey),
    *(_ages, _work, _boxes),
)
