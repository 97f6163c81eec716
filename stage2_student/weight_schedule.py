"""The weight of a loss over the steps: `linear(0, 1, until=1000)*fkl`; pure arithmetic, no torch.

With n steps, at step s (from 0), from a to b:

    linear(a, b, after=F, until=U)    a + (b − a) · x                    x = (s − F) / (U − F)
    cosine(a, b, after=F, until=U)    a + (b − a) · (1 − cos πx) / 2     from 0 to 1
    step(a, b, until=U)               a before step U, b from it on
    wsd(a, b, warmup=W, decay=D)      a + (b − a) · (s + 1) / W over the first W steps, then b, and
                                      a + (b − a) · (1 − √x) over the last D steps

F is 0, U is n, W is 0 and D a fifth of n unless given. A dump holds a few temperatures, so a
temperature that goes from one to another is two terms, one of which falls as the other rises.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from schemas.errors import ConfigError
from stage2_student.objective_text import WrittenSchedule, WrittenTerm, nearest
from stage2_student.schedule import DECAY_SHARE, SHAPES, LearningRate

_EXAMPLE = "Write for example step(0, 1, until=1000)*fkl."

_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "linear": ("after", "until"),
    "cosine": ("after", "until"),
    "step": ("until",),
    "wsd": ("warmup", "decay"),
}
"""Every shape, and the steps that it can be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSchedule:
    """A weight as a function of the step.

    Attributes:
        shape: linear, cosine, step or wsd.
        first: a, of the beginning.
        last: b, of the end; of the middle for wsd.
        given: the steps that were given, by their names.
    """

    shape: str
    first: float
    last: float
    given: Mapping[str, int] = field(default_factory=dict)

    def at(self, step: int, steps: int) -> float:
        """The weight at a step (from 0) of a training of so many steps."""
        return self.last + (self.first - self.last) * self._left(step, steps)

    @property
    def most(self) -> float:
        """The largest weight."""
        return max(self.first, self.last)

    @property
    def written(self) -> str:
        """As a user would write it."""
        given = [f"{name}={step}" for name, step in self.given.items()]
        return f"{self.shape}({', '.join([f'{self.first:g}', f'{self.last:g}', *given])})"

    def corners(self, steps: int) -> Iterator[int]:
        """The steps at which it may reach an end: between two of them it does not turn back."""
        yield from (0, steps - 1)
        for name, step in self.given.items():
            place = steps - step if name == "decay" else step
            yield from (near for near in (place - 1, place) if 0 <= near < steps)

    def check(self, steps: int) -> None:
        """Checks it against the length of the training.

        Raises:
            ConfigError: it needs more steps.
        """
        if self.shape == "wsd":
            needed = sum(self.given.values())
        else:
            needed = max(self.given.get("until", 0), self.given.get("after", -1) + 1)
        if needed > steps:
            raise ConfigError(
                f"the weight {self.written} needs {needed} steps and the training has {steps}. "
                "Give it fewer, or more --steps or --epochs."
            )

    def _left(self, step: int, steps: int) -> float:
        """The share of the way from `first` to `last` that is not gone."""
        if self.shape == "wsd":
            return 1 - self._wsd(steps)(step)
        after, until = self.given.get("after", 0), self.given.get("until", steps)
        if step <= after or step >= until:
            return float(step < until)
        return 1.0 if self.shape == "step" else _FALLS[self.shape]((step - after) / (until - after))

    def _wsd(self, steps: int) -> LearningRate:
        warmup = self.given.get("warmup", 0)
        decay = self.given.get("decay", min(steps - warmup, round(DECAY_SHARE * steps)))
        return LearningRate(
            peak=1.0, schedule="wsd", steps=steps, warmup=warmup, decay=decay, floor=0.0
        )


_FALLS = {"linear": SHAPES["linear"], "cosine": SHAPES["cosine"]}


def weight_schedule(written: WrittenTerm) -> WeightSchedule | None:
    """The schedule of a term's weight, if it has one.

    Raises:
        ConfigError: an unknown shape or argument, or a number out of range; points at it.
    """
    found = written.schedule
    if found is None:
        return None
    shape = found.shape.text
    if shape not in _ARGUMENTS:
        raise written.wrong(found.shape, f"unknown schedule {shape!r}", nearest(shape, _ARGUMENTS))
    first, last = (float(word.text) for word in found.ends)
    given = _given(written, found)
    if shape == "step" and "until" not in given:
        raise written.wrong(found.shape, "step has no argument 'until'", _EXAMPLE)
    if given.get("after", 0) >= given.get("until", math.inf):
        raise written.wrong(found.shape, "it ends before it begins", "Give a later until.")
    return WeightSchedule(shape=shape, first=first, last=last, given=given)


def _given(written: WrittenTerm, schedule: WrittenSchedule) -> dict[str, int]:
    known, found = _ARGUMENTS[schedule.shape.text], dict[str, int]()
    for name, value in schedule.arguments:
        if name.text not in known:
            problem = f"{schedule.shape.text} has no argument {name.text!r}"
            raise written.wrong(name, problem, nearest(name.text, known))
        if name.text in found:
            raise written.wrong(name, f"{name.text} is given twice", "Leave one of them out.")
        if not value.text.isdigit():
            problem = f"{name.text} is a number of steps; found {value.text}"
            raise written.wrong(value, problem, _EXAMPLE)
        found[name.text] = int(value.text)
    return found
