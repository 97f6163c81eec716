"""Every check of a training, in the order of what they cost; nothing is written here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.dump_folder import DumpFolder, open_dumps
from schemas.errors import MismatchError
from schemas.progress import Progress, Report
from stage2_student.cached_store import cached_dumps
from stage2_student.checkpoints import read_state
from stage2_student.curriculum import parse_curriculum
from stage2_student.dump_agreement import check_agreement, common_temperatures
from stage2_student.forward_proof import prove_logits, separates_documents
from stage2_student.held_out import HeldOut, open_held_out
from stage2_student.hidden_matching import HiddenMatching
from stage2_student.hidden_preparation import go_on_hidden, prepare_hidden, tell_layers
from stage2_student.hidden_terms import teacher_layers
from stage2_student.layer_mapping import check_hidden
from stage2_student.licences import check_licenses, licence_line, stated_for
from stage2_student.logit_transform import logit_transform
from stage2_student.mixture import check_mixture, mixture_of
from stage2_student.objective import Objective, check_objective, objective_of
from stage2_student.objective_schedule import check_schedules
from stage2_student.parallelism import place
from stage2_student.row_filter import check_filter, filter_of
from stage2_student.schedule import LearningRate, learning_rate
from stage2_student.settings import TrainSettings
from stage2_student.stream import Place, Stream, StreamSettings, open_stream
from stage2_student.student import Student, open_student, reopen_student
from stage2_student.student_source import Source
from stage2_student.tasks import Tasks, tasks_of
from stage2_student.token_weights import check_weights, weights_of
from stage2_student.tuning import tune


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A training ready to run.

    Attributes:
        settings: as given.
        dumps: what is read.
        objective: what is minimised.
        student: what is trained.
        matching: what computes losses on hidden states, where there are some.
        stream: this rank's data.
        held_out: what is measured on the way, if anything is.
        rate: the learning rate's schedule; it knows the number of steps.
        checkpoint: to go on from; None to begin.
        state: what is ours in that checkpoint.
    """

    settings: TrainSettings
    dumps: Sequence[DumpFolder]
    objective: Objective
    student: Student
    matching: HiddenMatching | None
    stream: Stream
    held_out: HeldOut | None
    rate: LearningRate
    checkpoint: Path | None
    state: dict[str, Any]


def checked_dumps(settings: TrainSettings) -> list[DumpFolder]:
    """Opens the dumps; cheap, no tensor is touched.

    Raises:
        PotstillError: one is missing, unfinished, damaged or unexpected, or they do not agree.
    """
    dumps = cached_dumps(open_dumps(settings.dump), settings.cache, settings.cache_size)
    found = [dump.manifest.identity for dump in dumps]
    if settings.expect_dump and settings.expect_dump != found:
        raise MismatchError(
            f"the dumps are not the expected ones: found {', '.join(found)}; expected "
            f"{', '.join(settings.expect_dump)}. Take the right dumps, or expect these."
        )
    check_licenses(stated_for(dumps, None), settings.forbid_license)
    check_agreement(dumps)
    check_filter(filter_of(settings), dumps)
    check_mixture(mixture_of(settings), len(dumps))
    return dumps


def checked_objective(settings: TrainSettings, dumps: Sequence[DumpFolder]) -> Objective:
    """The objective; cheap, too.

    Raises:
        ConfigError: the loss is not one, or the dumps do not hold what it or the weights need.
    """
    objective = objective_of(settings)
    draws = dumps[0].manifest.capture.tail_samples
    check_objective(objective, common_temperatures(dumps), draws)
    check_hidden(objective.hidden, dumps)
    check_weights(weights_of(settings), dumps)
    return objective


def prepare(
    settings: TrainSettings,
    dumps: Sequence[DumpFolder],
    objective: Objective,
    checkpoint: Path | None,
    report: Report,
) -> Prepared:
    """Loads the student and opens its data.

    Raises:
        PotstillError: the student does not fit the dumps, or cannot be trained as asked.
    """
    student, state = _student(settings, dumps[0], checkpoint)
    objective, matching = prepare_hidden(objective, settings, dumps, student.model)
    go_on_hidden(matching, checkpoint)
    stated = stated_for(dumps, student.source)
    check_licenses(stated, settings.forbid_license)
    report(Progress(stage="load student", message=licence_line(stated)))
    prove_logits(student.model, logit_transform(student.model.config.get_text_config()))
    packing = settings.packing and separates_documents(student.model)
    if settings.packing and not packing:
        report(
            Progress(
                stage="load student",
                message=f"{type(student.model).__name__} does not keep the documents of a packed "
                "row apart: rows hold one document each, which takes longer",
            )
        )
    tell_layers(matching, report)
    tasks = tasks_of(settings, student.tokenizer)
    stream = _stream(settings, dumps, objective, tasks, packing, report)
    if settings.max_passes is not None and settings.steps is not None:
        stream.check_length(settings.steps)
    steps = settings.steps or _epoch_steps(stream, settings.epochs or 1)
    check_schedules(objective, steps)
    held_out = None
    if settings.eval_steps is not None:
        held_out = open_held_out(dumps, stream, settings.eval_rows, settings.batch_size, report)
    return Prepared(
        settings=settings,
        dumps=dumps,
        objective=objective,
        student=student,
        matching=matching,
        stream=stream,
        held_out=held_out,
        rate=learning_rate(settings, steps, student.model.num_parameters()),
        checkpoint=checkpoint,
        state=state,
    )


def _student(
    settings: TrainSettings, dump: DumpFolder, checkpoint: Path | None
) -> tuple[Student, dict[str, Any]]:
    """Adapters are loaded over what they began over, everything else from the checkpoint."""
    state = {} if checkpoint is None else read_state(checkpoint)
    if checkpoint is None or settings.lora_rank is not None:
        student = open_student(settings, dump)
    else:
        found = state["source"]
        source = found and Source(**{**found, "folder": Path(found["folder"])})
        student = reopen_student(checkpoint, source, settings.trust_remote_code)
    tune(student.model, settings, checkpoint)
    return student, state


def _stream(
    settings: TrainSettings,
    dumps: Sequence[DumpFolder],
    objective: Objective,
    tasks: Tasks,
    packing: bool,
    report: Report,
) -> Stream:
    rank, processes = place()
    micro_batches = settings.grad_accumulation
    wanted = StreamSettings(
        rows_per_step=settings.batch_size * micro_batches * processes,
        max_length=settings.max_length,
        packing=packing,
        seed=settings.seed,
        only=filter_of(settings),
        mixture=mixture_of(settings),
        phases=parse_curriculum(settings.curriculum),
        held_out=settings.holdout,
        temperatures=tuple(sorted({1.0, *objective.temperatures})),
        tail_sample=any(term.tail == "sample" for term in objective.terms),
        train_on=tuple(settings.train_on),
        weights=weights_of(settings),
        hidden=teacher_layers(objective.hidden),
        tasks=tasks,
    )
    where = Place(rank=rank, world_size=processes, micro_batches=micro_batches)
    return open_stream(dumps, wanted, where, report)


def _epoch_steps(stream: Stream, epochs: int) -> int:
    return sum(stream.plan(epoch).steps for epoch in range(epochs))
