"""One term of what a training minimises: a loss, its arguments, its weight."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from stage2_student.losses import LOSSES
from stage2_student.outcomes import Tail
from stage2_student.signals import StudentSignals, TeacherSignals
from stage2_student.weight_schedule import WeightSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One loss of the sum.

    Attributes:
        loss: a name of `LOSSES`.
        weight: factor of this term, T² not included; of step 0, where it changes.
        schedule: how the weight changes over the steps, if it does.
        temperature: softens both models before they are compared.
        tail: what is done with the teacher's mass outside the kept entries.
        arguments: what else the loss takes; its defaults where left out.
    """

    loss: str
    weight: float = 1.0
    temperature: float = 1.0
    tail: Tail = "sample"
    arguments: Mapping[str, float] = field(default_factory=dict)
    schedule: WeightSchedule | None = None

    def weight_at(self, step: int, steps: int) -> float:
        """The weight at a step (from 0) of a training of so many."""
        return self.weight if self.schedule is None else self.schedule.at(step, steps)

    @property
    def most(self) -> float:
        """The largest weight of all steps."""
        return self.weight if self.schedule is None else self.schedule.most

    @property
    def factor(self) -> float:
        """What the loss is multiplied with: weight · T²."""
        return self.weight * self.temperature**2

    @property
    def reads_tail_mass(self) -> bool:
        """Whether the student's whole tail mass is needed."""
        return self.tail in LOSSES[self.loss].tail_mass_with

    @property
    def reads_mean(self) -> bool:
        """Whether the student's mean log-probability is needed."""
        return self.arguments.get("smoothing", 0) > 0

    def compute(self, teacher: TeacherSignals, student: StudentSignals) -> torch.Tensor:
        """[N] the plain loss of each position, from what both models say at the temperature."""
        return LOSSES[self.loss].compute(teacher, student, self.tail, **self.arguments)

    @property
    def written(self) -> str:
        """The term as a user would write it, tail included: `0.9*fkl(temperature=2, tail=sample)`.

        It stands in the model card, so nothing that decides the student is left out.
        """
        weight = f"{self.weight:g}" if self.schedule is None else self.schedule.written
        factor = "" if weight == "1" else f"{weight}*"
        inside = ", ".join(f"{name}={value}" for name, value in self._given().items())
        return f"{factor}{self.loss}" + (f"({inside})" if inside else "")

    @property
    def label(self) -> str:
        """What tells it from other terms of the same loss in logs: `fkl temperature 2`.

        Plain words, since some trackers allow no brackets in the names of figures.
        """
        usual = {"temperature": "1", "tail": LOSSES[self.loss].tail}
        own = {name: value for name, value in self._given().items() if usual.get(name) != value}
        return " ".join([self.loss, *(f"{name} {value}" for name, value in own.items())])

    def _given(self) -> dict[str, str]:
        found = {name: f"{value:g}" for name, value in self.arguments.items()}
        if LOSSES[self.loss].soft:
            if self.temperature != 1:
                found["temperature"] = f"{self.temperature:g}"
            found["tail"] = self.tail
        return found
