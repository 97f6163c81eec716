"""Which layer of the student learns from which of the teacher's, and what is checked of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from schemas.dump_folder import DumpFolder
from schemas.errors import ConfigError
from schemas.hidden_layers import LAST, depth, sorted_layers
from schemas.manifest import Capture
from stage2_student.hidden_terms import HiddenTerm, LayerPair
from stage2_student.state_proof import state_widths
from stage2_student.student_states import decoder_layers


def check_hidden(terms: Sequence[HiddenTerm], dumps: Sequence[DumpFolder]) -> None:
    """Checks that the dumps hold the states that the terms are about; reads no shard.

    Raises:
        ConfigError: a layer is not in a dump, or the dumps' states have different widths.
    """
    if not terms:
        return
    for dump in dumps:
        for term in terms:
            _check_held(term, dump)
    first = dumps[0]
    for other in dumps[1:]:
        if _stored(other.manifest.capture) != _stored(first.manifest.capture):
            raise ConfigError(
                f"the hidden states of {first.url} ({_words(first.manifest.capture)}) and "
                f"{other.url} ({_words(other.manifest.capture)}) are not alike. Train on one of "
                "them, or leave out the losses on hidden states."
            )


def common_layers(dumps: Sequence[DumpFolder]) -> list[str]:
    """The layers that all of the dumps hold, by depth."""
    held = [set(dump.manifest.capture.hidden_layers) for dump in dumps]
    return sorted_layers(set.intersection(*held))


def mapped(
    terms: Sequence[HiddenTerm], dumps: Sequence[DumpFolder], model: Any, kept: Sequence[int]
) -> tuple[HiddenTerm, ...]:
    """The terms with pairs of layers, and with a projector or none.

    Args:
        terms: checked against the dumps.
        dumps: what is read.
        model: the student.
        kept: the layers of the checkpoint that a carved student kept.

    Raises:
        ConfigError: a layer is beyond the student, the widths need a projector and there is none,
            or nothing says which layers belong together.
        ModelError: the student's states cannot be told.
    """
    capture = dumps[0].manifest.capture
    found = []
    for term in terms:
        pairs = term.pairs or automatic_pairs(common_layers(dumps), capture, model, kept)
        widths = state_widths(model, sorted_layers(pair.student for pair in pairs))
        fits = [widths[pair.student] == capture.hidden_width for pair in pairs]
        if term.projector == "none" and not all(fits):
            pair = pairs[fits.index(False)]
            raise ConfigError(
                f"{term.loss} has projector none, but the student's layer {pair.student} is "
                f"{widths[pair.student]} wide and the teacher's states are {capture.hidden_width}. "
                "Leave it out: then a learned linear map stands between them."
            )
        learned = term.projector == "linear" or not all(fits)
        found.append(replace(term, pairs=pairs, projector="linear" if learned else "none"))
    return tuple(found)


def automatic_pairs(
    teacher: Sequence[str], capture: Capture, model: Any, kept: Sequence[int]
) -> tuple[LayerPair, ...]:
    """For each of the teacher's layers the student's at the same relative depth.

    In a student carved out of a model as wide as the teacher, the layer after the last kept one
    that the teacher's state has passed: what comes next in the student had come next in the
    teacher. Where two of the teacher's would go to one of the student's, the deeper one does.
    """
    layers = [layer for layer in teacher if layer not in ("0", LAST)]
    found = {layer: layer for layer in ("0", LAST) if layer in teacher}
    if layers:
        count = len(decoder_layers(model))
        width = state_widths(model, [str(count)])[str(count)]
        carved = kept if width == capture.hidden_width else ()
        for layer in layers:
            found[str(_place(int(layer), count, capture.hidden_depth, carved))] = layer
    pairs = (LayerPair(student=own, teacher=theirs) for own, theirs in found.items())
    return tuple(sorted(pairs, key=lambda pair: depth(pair.student)))


def _place(layer: int, count: int, teacher_count: int | None, kept: Sequence[int]) -> int:
    if kept:
        return max(1, sum(number < layer for number in kept))
    if teacher_count is None:
        raise ConfigError(
            "the dump does not say how many layers the teacher has (it was made by an older "
            f"potstill), so its layer {layer} has no place in a student of {count}. Give the pairs "
            "yourself, as in hidden_cosine(layers=4:10 8:20), student before teacher."
        )
    return min(count, max(1, round(layer * count / teacher_count)))


def _check_held(term: HiddenTerm, dump: DumpFolder) -> None:
    held = dump.manifest.capture.hidden_layers
    if not held:
        raise ConfigError(
            f"{term.loss} compares hidden states, and {dump.url} holds none. Leave it out of the "
            "loss, or dump again with --hidden-layers."
        )
    for pair in term.pairs:
        if pair.teacher not in held:
            raise ConfigError(
                f"{dump.url} does not hold the teacher's layer {pair.teacher}, which {term.loss} "
                f"asks for: it holds {', '.join(held)}. Choose one of these (pairs are "
                f"student:teacher), or dump again with --hidden-layers {pair.teacher}."
            )


def _stored(capture: Capture) -> tuple[Any, ...]:
    return capture.hidden_width, capture.hidden_projection


def _words(capture: Capture) -> str:
    projection = capture.hidden_projection
    projected = f", projected to {projection.width} by {projection.sha256}" if projection else ""
    return f"{capture.hidden_width} wide{projected}"
