"""Where a training is in its data: phases, epochs, steps; the same for every rank."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.errors import ConfigError
from stage2_student.curriculum import Phase
from stage2_student.epoch_plan import EpochPlan, EpochPlans


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A place between two steps.

    Attributes:
        total: steps before it.
        phase: of the curriculum.
        epoch: of the phase.
        step: the next step, of the epoch; the number of its steps at its end.
    """

    total: int = 0
    phase: int = 0
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Steps first to end of one epoch."""

    phase: int
    epoch: int
    first: int
    end: int


class Course:
    """The way through the data from any point on."""

    def __init__(self, plans: EpochPlans, phases: Sequence[Phase]) -> None:
        self._plans = plans
        self._phases = phases

    def after(self, point: Point, steps: int) -> Point:
        """Where some more steps lead; never at the end of an epoch that has steps.

        Raises:
            ConfigError: there are not so many.
        """
        while steps:
            room = self._room(point)
            taken = min(steps, room.end - room.first)
            steps -= taken
            point = self._moved(point, room, taken)
        return point

    def stretches(self, point: Point) -> Iterator[Stretch]:
        """The steps from a point on, without end.

        Raises:
            ConfigError: every part of the data was passed over as often as is allowed.
        """
        while True:
            room = self._room(point)
            yield room
            point = self._moved(point, room, room.end - room.first)

    def _room(self, point: Point) -> Stretch:
        """What is left of the epoch, or of the phase."""
        plan, until = self._plan(point), self._phases[point.phase].until
        if plan.last and point.step >= plan.steps:
            raise ConfigError(
                f"after {point.total:,} steps every source was passed over as often as "
                "--max-passes allows. Give no more --steps than that, or more passes."
            )
        end = plan.steps if until is None else min(plan.steps, point.step + until - point.total)
        return Stretch(phase=point.phase, epoch=point.epoch, first=point.step, end=end)

    def _moved(self, point: Point, room: Stretch, taken: int) -> Point:
        total, step, plan = point.total + taken, room.first + taken, self._plan(point)
        if total == self._phases[point.phase].until:
            return Point(total=total, phase=point.phase + 1)
        if step < plan.steps or plan.last:
            return Point(total=total, phase=point.phase, epoch=point.epoch, step=step)
        return Point(total=total, phase=point.phase, epoch=point.epoch + 1)

    def _plan(self, point: Point) -> EpochPlan:
        return self._plans.of(point.epoch, point.phase)
