"""A term on hidden states: `0.5*hidden_cosine(layers=4:10 8:20, projector=linear)`.

A pair is `student:teacher`, each an id of `schemas/hidden_layers.py`; without pairs the layers that
the dump holds are mapped by depth (`layer_mapping.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from schemas.hidden_layers import LAYER, sorted_layers
from stage2_student.hidden_losses import HIDDEN_LOSSES
from stage2_student.objective_text import Word, WrittenTerm, nearest
from stage2_student.weight_schedule import WeightSchedule, weight_schedule

Projector = Literal["auto", "linear", "none"]

_EXAMPLE = "Write for example hidden_cosine(layers=4:10 8:20)."
_ARGUMENTS = ("layers", "projector")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LayerPair:
    """A layer of the student and the teacher's layer that it learns from."""

    student: str
    teacher: str

    def __str__(self) -> str:
        """As a user writes it."""
        return f"{self.student}:{self.teacher}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenTerm:
    """One loss on hidden states in the sum: the mean over its pairs of layers.

    Attributes:
        loss: a name of `HIDDEN_LOSSES`.
        weight: factor of this term; of step 0, where it changes.
        schedule: how the weight changes over the steps, if it does.
        pairs: of layers; none until the layers of the dump are mapped to the student's.
        projector: between the student's states and the loss: a learned linear map, or none; auto
            until the widths are known, then none where they are the same.
    """

    loss: str
    weight: float = 1.0
    schedule: WeightSchedule | None = None
    pairs: tuple[LayerPair, ...] = ()
    projector: Projector = "auto"

    def weight_at(self, step: int, steps: int) -> float:
        """The weight at a step (from 0) of a training of so many."""
        return self.weight if self.schedule is None else self.schedule.at(step, steps)

    @property
    def most(self) -> float:
        """The largest weight of all steps."""
        return self.weight if self.schedule is None else self.schedule.most

    @property
    def written(self) -> str:
        """The term as a user would write it."""
        weight = f"{self.weight:g}" if self.schedule is None else self.schedule.written
        inside = ", ".join(f"{name}={value}" for name, value in self._given().items())
        factor = "" if weight == "1" else f"{weight}*"
        return f"{factor}{self.loss}" + (f"({inside})" if inside else "")

    @property
    def label(self) -> str:
        """What tells it from other terms of the same loss in logs, in plain words."""
        given = [f"{name} {value.replace(':', '-')}" for name, value in self._given().items()]
        return " ".join([self.loss, *given])

    def _given(self) -> dict[str, str]:
        found = {"layers": " ".join(map(str, self.pairs)), "projector": self.projector}
        return {name: value for name, value in found.items() if value not in ("", "auto")}


def teacher_layers(terms: Sequence[HiddenTerm]) -> tuple[str, ...]:
    """The teacher's layers that terms read, each once, by depth."""
    return tuple(sorted_layers(pair.teacher for term in terms for pair in term.pairs))


def is_hidden(written: WrittenTerm) -> bool:
    """Whether it is a term on hidden states."""
    return written.name.text in HIDDEN_LOSSES


def make_hidden_term(written: WrittenTerm) -> HiddenTerm:
    """The term.

    Raises:
        ConfigError: an unknown argument, or a value that is none; points at it.
    """
    schedule = weight_schedule(written)
    weight = schedule.first if schedule else 1.0 if written.weight is None else written.weight
    given = written.given(_ARGUMENTS)
    return HiddenTerm(
        loss=written.name.text,
        weight=weight,
        schedule=schedule,
        pairs=_pairs(written, given.get("layers")),
        projector=_projector(written, given.get("projector")),
    )


def _pairs(written: WrittenTerm, word: Word | None) -> tuple[LayerPair, ...]:
    if word is None or word.text == "auto":
        return ()
    found = tuple(_pair(written, word, text) for text in word.text.split())
    if len(set(found)) < len(found):
        raise written.wrong(word, "layers names a pair twice", "Leave one of them out.")
    return found


def _pair(written: WrittenTerm, word: Word, text: str) -> LayerPair:
    student, _, teacher = text.partition(":")
    if not (LAYER.match(student) and LAYER.match(teacher)):
        raise written.wrong(
            word,
            f"layers are pairs student:teacher of numbers from 0, or last; found {text}",
            f"{_EXAMPLE} In YAML, put it in quotes: 4:10 alone is a number there.",
        )
    return LayerPair(student=student, teacher=teacher)


def _projector(written: WrittenTerm, word: Word | None) -> Projector:
    if word is None:
        return "auto"
    choices: tuple[Projector, ...] = get_args(Projector)
    for choice in choices:
        if word.text == choice:
            return choice
    raise written.wrong(word, f"unknown projector {word.text!r}", nearest(word.text, choices))
