"""What a training minimises: a weighted sum of losses, each with its temperature and tail.

    total = Σ_n weight_n · (Σ_terms weight · T² · loss_T,n + Σ_hidden weight · loss_n)

T² keeps the size of a soft-target gradient independent of the temperature (Hinton et al. 2015,
section 2); it stands here, once, and so in value and gradient alike.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from schemas.errors import ConfigError
from stage2_student.fused_softmax import Sums
from stage2_student.hidden_terms import HiddenTerm, is_hidden, make_hidden_term
from stage2_student.losses import LOSSES
from stage2_student.objective_terms import check_sum, make_term
from stage2_student.objective_text import WrittenTerm, nearest, read_terms, term_text
from stage2_student.outcomes import Tail
from stage2_student.settings import TrainSettings
from stage2_student.terms import Term

log = logging.getLogger(__name__)

__all__ = ["Objective", "Term", "check_objective", "make_objective", "objective_of"]

Written = str | Sequence[str | Mapping[str, Any]]
"""A loss as a user gives it: one text, or a list of terms, each a text or its keys and values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A sum of terms, no two of them the same.

    Attributes:
        terms: what is summed of losses on distributions; at least one.
        hidden: what is summed of losses on hidden states.
        ce_warmup: steps at the beginning in which cross-entropy stands alone.
    """

    terms: tuple[Term, ...]
    hidden: tuple[HiddenTerm, ...] = ()
    ce_warmup: int = 0

    def __post_init__(self) -> None:
        check_sum(self.summands)

    @property
    def summands(self) -> tuple[Term | HiddenTerm, ...]:
        """All of the terms, in the order of their labels."""
        return (*self.terms, *self.hidden)

    def at(self, step: int, steps: int) -> "Objective":
        """What is minimised at a step (from 0) of a training of so many; the terms stay in place.

        A term that weighs nothing at that step is computed all the same, and logged.
        """
        if step < self.ce_warmup:
            first = next(place for place, term in enumerate(self.terms) if term.loss == "ce")
            weights = [float(place == first) for place in range(len(self.summands))]
        elif any(term.schedule for term in self.summands):
            weights = [term.weight_at(step, steps) for term in self.summands]
        else:
            return self
        own = iter(weights)
        return Objective(
            terms=tuple(replace(term, weight=next(own), schedule=None) for term in self.terms),
            hidden=tuple(replace(term, weight=next(own), schedule=None) for term in self.hidden),
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The terms' names in logs, all different: the loss, and its arguments where needed."""
        losses = [term.loss for term in self.summands]
        return tuple(t.loss if losses.count(t.loss) == 1 else t.label for t in self.summands)

    @property
    def written(self) -> str:
        """The sum as a user would write it; terms that are only logged are left out."""
        found = " + ".join(term.written for term in self.summands if term.most)
        return f"ce until step {self.ce_warmup}, then {found}" if self.ce_warmup else found

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The distinct temperatures at which the student's softmax is needed, ascending."""
        return tuple(sorted({term.temperature for term in self.terms}))

    @property
    def sums(self) -> dict[float, Sums]:
        """Per temperature the sums over the student's vocabulary that the terms need."""
        return {temperature: self._sums(temperature) for temperature in self.temperatures}

    def _sums(self, temperature: float) -> Sums:
        own = [term for term in self.terms if term.temperature == temperature]
        return Sums(
            tail=any(term.reads_tail_mass for term in own),
            mean=any(term.reads_mean for term in own),
        )


def objective_of(settings: TrainSettings) -> Objective:
    """What the settings of a training say.

    Raises:
        ConfigError: they say nothing that can be minimised; shows where.
    """
    found = make_objective(settings.loss, settings.temperature, settings.ce_weight, settings.tail)
    return _with_warmup(found, settings.ce_warmup_steps)


def make_objective(
    loss: Written = "fkl",
    temperature: float | None = None,
    ce_weight: float | None = None,
    tail: Tail | None = None,
) -> Objective:
    """The objective of a loss's bare name and options, or of a written sum.

    A bare name means (1 − ce_weight) · loss + ce_weight · cross-entropy on the realised tokens. In
    a sum, temperature and tail hold for the terms that name none. At temperature 1 the
    cross-entropy costs nothing extra, so it is then always among the terms, if with weight 0, to
    be logged; also where nothing but hidden states is compared.

    Raises:
        ConfigError: the text is no sum of losses, a word of it is unknown or out of range, or an
            option contradicts it.
    """
    _check_options(temperature, ce_weight, tail)
    written = _read(loss)
    if len(written) == 1 and written[0].bare and not is_hidden(written[0]):
        return _of_name(make_term(written[0], temperature, tail), ce_weight or 0.0)
    if ce_weight is not None:
        raise ConfigError(
            f"the loss is a written sum, and ce_weight {ce_weight:g} is given too. Put the "
            "cross-entropy into the sum, as in 0.9*fkl + 0.1*ce, and leave ce_weight out."
        )
    return _with_ce_logged(
        tuple(make_term(term, temperature, tail) for term in written if not is_hidden(term)),
        tuple(make_hidden_term(term) for term in written if is_hidden(term)),
    )


def _read(loss: Written) -> list[WrittenTerm]:
    if isinstance(loss, str):
        return read_terms(loss)
    texts = [entry if isinstance(entry, str) else term_text(entry) for entry in loss]
    return [term for text in texts for term in read_terms(text)]


def _of_name(term: Term, ce_weight: float) -> Objective:
    if not LOSSES[term.loss].soft:
        return Objective(terms=(term,))
    soft = Term(loss=term.loss, weight=1 - ce_weight, temperature=term.temperature, tail=term.tail)
    hard = Term(loss="ce", weight=ce_weight, tail="none")
    return Objective(terms=(soft, hard)) if ce_weight else _with_ce_logged((soft,))


def _with_ce_logged(terms: tuple[Term, ...], hidden: tuple[HiddenTerm, ...] = ()) -> Objective:
    objective = Objective(terms=terms, hidden=hidden)
    known = any(term.loss == "ce" for term in terms)
    if known or (terms and 1.0 not in objective.temperatures):
        return objective
    return _with_ce(objective)


def _with_warmup(objective: Objective, steps: int) -> Objective:
    if steps and not any(term.loss == "ce" for term in objective.terms):
        objective = _with_ce(objective)
    return replace(objective, ce_warmup=steps)


def _with_ce(objective: Objective) -> Objective:
    """With cross-entropy at weight 0."""
    logged = Term(loss="ce", weight=0.0, tail="none")
    return replace(objective, terms=(*objective.terms, logged))


def _check_options(temperature: float | None, ce_weight: float | None, tail: str | None) -> None:
    if tail is not None and tail not in get_args(Tail):
        raise ConfigError(f"unknown tail {tail!r}. {nearest(tail, get_args(Tail))}")
    if temperature is not None and not 0 < temperature < float("inf"):
        raise ConfigError(f"the temperature must be positive; found {temperature:g}. Try 1 or 2.")
    if ce_weight is not None and not 0 <= ce_weight <= 1:
        raise ConfigError(
            f"ce_weight must be between 0 (soft targets only) and 1; found {ce_weight:g}."
        )


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
                f"the dump holds no tail sample, which tail 'sample' of {term.loss} needs (it was "
                "made with --tail-samples 0). Train with --tail bucket, or dump again with "
                "--tail-samples 64."
            )
        _warn(term)


def _check_temperature(term: Term, temperatures: Sequence[float]) -> None:
    if term.temperature not in temperatures:
        grid = ", ".join(f"{t:g}" for t in temperatures)
        raise ConfigError(
            f"the dump does not hold temperature {term.temperature:g}, which {term.loss} asks "
            f"for: it was made for {grid}. Choose one of these, or dump again with "
            f"--temperatures {grid.replace(' ', '')},{term.temperature:g}."
        )


def _warn(term: Term) -> None:
    if term.tail == "renormalise":
        log.warning(
            "tail 'renormalise' scales both models' kept entries to sum to 1, so nothing "
            "holds the student's mass outside them down: in our measurements it trained "
            "worse than no teacher at all. Use 'sample' unless you are comparing."
        )
    if term.tail == "none" and LOSSES[term.loss].outside:
        log.warning(
            f"tail 'none' with {term.loss} rewards a student that moves its mass out of the kept "
            "entries. Use 'sample' or 'bucket' unless you are comparing."
        )
