"""What a training minimises: a weighted sum of losses, each with its temperature and tail.

    total = Σ_n weight_n · Σ_terms weight · T² · loss_T,n

T² keeps the size of a soft-target gradient independent of the temperature (Hinton et al. 2015,
section 2); it stands here, once, and so in value and gradient alike.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import get_args

from schemas.errors import ConfigError
from stage2_student.losses import LOSSES
from stage2_student.outcomes import Tail

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One loss of the sum.

    Attributes:
        loss: a name of `LOSSES`.
        weight: factor of this term, T² not included.
        temperature: softens both models before they are compared.
        tail: what is done with the teacher's mass outside the kept entries.
    """

    loss: str
    weight: float = 1.0
    temperature: float = 1.0
    tail: Tail = "sample"

    @property
    def factor(self) -> float:
        """What the loss is multiplied with: weight · T²."""
        return self.weight * self.temperature**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A sum of terms; each loss at most once, since logs know a term by its loss."""

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        names = [term.loss for term in self.terms]
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                f"an objective needs different losses, at least one; found {names}. "
                "Leave out the repeated one."
            )

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The distinct temperatures at which the student's softmax is needed, ascending."""
        return tuple(sorted({term.temperature for term in self.terms}))

    @property
    def tail_temperatures(self) -> frozenset[float]:
        """Those at which the student's whole tail mass is needed too."""
        return frozenset(term.temperature for term in self.terms if term.tail == "bucket")


def make_objective(
    loss: str = "fkl",
    temperature: float = 1.0,
    ce_weight: float = 0.0,
    tail: Tail = "sample",
) -> Objective:
    """(1 − ce_weight) · loss + ce_weight · cross-entropy on the realised tokens.

    At temperature 1 the cross-entropy costs nothing extra, so it is then among the terms, with
    weight 0, to be logged.

    Raises:
        ConfigError: an unknown loss or tail, a temperature that is not positive, or a weight
            outside 0 … 1.
    """
    _check_words(loss, temperature, ce_weight, tail)
    hard = Term(loss="ce", weight=ce_weight, tail="none")
    if loss == "ce":
        return Objective(terms=(Term(loss="ce", tail="none"),))
    soft = Term(loss=loss, weight=1 - ce_weight, temperature=temperature, tail=tail)
    logged = ce_weight > 0 or temperature == hard.temperature
    return Objective(terms=(soft, hard) if logged else (soft,))


def _check_words(loss: str, temperature: float, ce_weight: float, tail: str) -> None:
    _check_choice("loss", loss, LOSSES)
    _check_choice("tail", tail, get_args(Tail))
    if not 0 < temperature < float("inf"):
        raise ConfigError(f"the temperature must be positive; found {temperature:g}. Try 1 or 2.")
    if not 0 <= ce_weight <= 1:
        raise ConfigError(
            f"ce_weight must be between 0 (soft targets only) and 1; found {ce_weight:g}."
        )


def _check_choice(option: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ConfigError(f"unknown {option} '{value}': choose one of {', '.join(choices)}.")


def check_objective(
    objective: Objective, temperatures: Sequence[float], draws_per_unit: int
) -> None:
    """Checks before any work that a dump holds what an objective needs; warns where it is unwise.

    Args:
        objective: what will be minimised.
        temperatures: the dump's grid.
        draws_per_unit: the dump's `tail_samples`, 0 for none.

    Raises:
        ConfigError: a temperature outside the grid, or `sample` where no tail sample is stored.
    """
    for term in objective.terms:
        _check_temperature(term, temperatures)
        if term.tail == "sample" and draws_per_unit == 0:
            raise ConfigError(
                "the dump holds no tail sample, which tail 'sample' needs (it was made with "
                "--tail-samples 0). Train with --tail bucket, or dump again with "
                "--tail-samples 64."
            )
        if term.tail == "renormalise":
            log.warning(
                "tail 'renormalise' scales both models' kept entries to sum to 1, so nothing "
                "holds the student's mass outside them down: in our measurements it trained "
                "worse than no teacher at all. Use 'sample' unless you are comparing."
            )


def _check_temperature(term: Term, temperatures: Sequence[float]) -> None:
    if term.temperature not in temperatures:
        grid = ", ".join(f"{t:g}" for t in temperatures)
        raise ConfigError(
            f"the dump does not hold temperature {term.temperature:g}: it was made for {grid}. "
            f"Choose one of these, or dump again with --temperatures {grid.replace(' ', '')},"
            f"{term.temperature:g}."
        )
