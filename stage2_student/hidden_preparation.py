"""Losses on hidden states made ready: layers mapped, projectors made or taken from a checkpoint."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from schemas.dump_folder import DumpFolder
from schemas.hidden_layers import sorted_layers
from schemas.progress import Progress, Report
from schemas.projection import read_projection
from stage2_student.hidden_losses import HIDDEN_LOSSES
from stage2_student.hidden_matching import HiddenMatching, StatePlan
from stage2_student.hidden_terms import HiddenTerm, LayerPair
from stage2_student.layer_mapping import mapped
from stage2_student.objective import Objective
from stage2_student.projector_file import load_projectors
from stage2_student.settings import TrainSettings
from stage2_student.state_proof import state_widths
from stage2_student.state_spread import state_spreads


def prepare_hidden(
    objective: Objective, settings: TrainSettings, dumps: Sequence[DumpFolder], model: Any
) -> tuple[Objective, HiddenMatching | None]:
    """The objective with its layers mapped, and what computes its losses on hidden states.

    Raises:
        PotstillError: as `layer_mapping.mapped`, or hidden states of a dump cannot be read.
    """
    if not objective.hidden:
        return objective, None
    terms = mapped(objective.hidden, dumps, model, settings.student_layers)
    plan = _plan(terms, settings, dumps, model)
    return replace(objective, hidden=terms), HiddenMatching(plan)


def go_on_hidden(matching: HiddenMatching | None, checkpoint: Path | None) -> None:
    """Takes the projectors to where a checkpoint left them.

    Raises:
        DamagedError: it holds none, or they cannot be read.
        MismatchError: they are others.
    """
    if matching is not None and checkpoint is not None:
        load_projectors(checkpoint, matching)


def tell_layers(matching: HiddenMatching | None, report: Report) -> None:
    """Says which layer learns from which, and through what."""
    if matching is None:
        return
    for term in matching.plan.terms:
        through = {"linear": "a learned projector", "none": "no projector"}[term.projector]
        pairs = ", ".join(_words(pair) for pair in term.pairs)
        message = f"{term.loss} compares {pairs}; {through}"
        report(Progress(stage="load student", message=message))


def _plan(
    terms: tuple[HiddenTerm, ...], settings: TrainSettings, dumps: Sequence[DumpFolder], model: Any
) -> StatePlan:
    spreading = [term for term in terms if HIDDEN_LOSSES[term.loss].spread]
    student = sorted_layers(pair.student for term in terms for pair in term.pairs)
    return StatePlan(
        terms=terms,
        student_widths=state_widths(model, student),
        stored_width=dumps[0].manifest.capture.stored_width,
        projection=read_projection(dumps[0]),
        spreads=state_spreads(
            dumps[0], sorted_layers(pair.teacher for term in spreading for pair in term.pairs)
        ),
        seed=settings.seed,
    )


def _words(pair: LayerPair) -> str:
    return f"the student's {pair.student} with the teacher's {pair.teacher}"
