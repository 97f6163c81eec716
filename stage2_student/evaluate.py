"""How good a student is, on held-out rows of a dump; the teacher is never loaded."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas.dump_folder import DumpFolder, open_dumps
from schemas.errors import InputError
from schemas.progress import Progress, Report, ignore
from stage2_student.batch import Batch
from stage2_student.cached_store import cached_dumps
from stage2_student.disagreements import WorstPositions
from stage2_student.dump_agreement import check_agreement
from stage2_student.evaluate_settings import EvaluateSettings
from stage2_student.evaluation import Evaluation, Speed, TeacherModel
from stage2_student.forward_proof import separates_documents
from stage2_student.held_out_choice import as_trained, held_out_share
from stage2_student.kind_weights import kind_weights
from stage2_student.measured_student import MeasuredStudent, open_measured
from stage2_student.metrics import MetricSums
from stage2_student.position_measures import PositionMeasures, measure
from stage2_student.row_filter import check_filter, filter_of
from stage2_student.split import document_id
from stage2_student.stream import Stream, StreamSettings, open_stream
from stage2_student.student_speed import generated_per_second, peak_memory, synchronize
from stage2_student.student_tokenizer import dump_tokenizer
from stage2_student.tasks import tasks_of

FILE = "evaluation.json"


def evaluate(settings: EvaluateSettings, report: Report = ignore) -> Evaluation:
    """Measures a student and writes evaluation.json.

    Args:
        settings: which student, on what.
        report: told of the progress.

    Raises:
        MismatchError: the student's tokenizer is not the dump's; shows both fingerprints.
        ModelError: the student cannot be loaded, or gives numbers that are not finite.
        ConfigError: it is not known which rows are held out, or there is no such device.
        PotstillError: a dump cannot be read, or the result not be written.
    """
    settings = as_trained(settings)
    dumps = cached_dumps(open_dumps(settings.dump), settings.cache, settings.cache_size)
    check_agreement(dumps)
    check_filter(filter_of(settings), dumps)
    holdout = held_out_share(settings, dumps)
    out = _folder(settings)
    report(Progress(stage="load student", message="loading the student"))
    student = open_measured(settings, dumps[0])
    stream = _stream(settings, dumps, holdout, student, report)
    found = _Measured(worst=WorstPositions(settings.disagreements))
    for batch in stream.epoch_batches():
        found.run(student, batch)
        report(found.progress(stream.plan(0).tokens))
    evaluation = _evaluation(settings, dumps, holdout, student, found)
    _write(out / FILE, evaluation)
    return evaluation


@dataclass(slots=True, kw_only=True, eq=False)
class _Measured:
    """What was measured so far; `prompt` is the beginning of the first sequence."""

    worst: WorstPositions
    overall: MetricSums = field(default_factory=MetricSums)
    slices: dict[str, MetricSums] = field(default_factory=dict)
    tokens: int = 0
    seconds: float = 0.0
    prompt: list[int] = field(default_factory=list)

    def run(self, student: MeasuredStudent, batch: Batch) -> None:
        """Runs the student on a batch."""
        batch = batch.to(student.device)
        started = time.perf_counter()
        hidden_ND, reading = student.read(batch)
        synchronize(student.device)
        self.seconds += time.perf_counter() - started
        self.tokens += sum(document.length for document in batch.documents)
        self.prompt = self.prompt or batch.input_ids[0, : batch.documents[0].length].tolist()
        measures = measure(batch.targets, reading)
        self._add(batch, measures)
        self.worst.add(batch, measures, lambda rows: student.probabilities(hidden_ND[rows]))

    def _add(self, batch: Batch, measures: PositionMeasures) -> None:
        for document in batch.documents:
            rows = slice(*document.targets)
            if rows.start == rows.stop:
                continue
            for sums in (self.overall, self.slices.setdefault(document.source, MetricSums())):
                sums.add(document_id(document.id), measures, rows)

    def progress(self, total: int) -> Progress:
        """How far it is."""
        figures = {"tokens/s": self.tokens / max(self.seconds, 1e-9), "kl": self.overall.mean_kl}
        return Progress(
            stage="evaluate", done=self.tokens, total=total, unit="tokens", figures=figures
        )


def _stream(
    settings: EvaluateSettings,
    dumps: Sequence[DumpFolder],
    holdout: float,
    student: MeasuredStudent,
    report: Report,
) -> Stream:
    wanted = StreamSettings(
        rows_per_step=settings.batch_size,
        packing=separates_documents(student.model),
        shuffle=False,
        only=filter_of(settings),
        part="all" if settings.rows == "all" else "held_out",
        held_out=holdout,
        tail_sample=_draws(dumps) > 0,
        tasks=tasks_of(settings, student.tokenizer),
    )
    return open_stream(dumps, wanted, report=report)


def _evaluation(
    settings: EvaluateSettings,
    dumps: Sequence[DumpFolder],
    holdout: float,
    student: MeasuredStudent,
    found: _Measured,
) -> Evaluation:
    if not found.slices:
        raise InputError(
            "the rows to measure on have no captured position. Take more of them: a larger "
            "--holdout, or --rows all with another dump."
        )
    teacher = dumps[0].manifest.teacher
    return Evaluation(
        student=student.description,
        teacher=TeacherModel(name=teacher.name, parameters=teacher.parameters, dtype=teacher.dtype),
        dumps=[dump.manifest.identity for dump in dumps],
        rows=settings.rows,
        only=[*filter_of(settings).written, *_tasks(settings)],
        holdout=holdout,
        kl_estimator="sample" if _draws(dumps) else "bucket",
        overall=found.overall.metrics(),
        slices={name: found.slices[name].metrics() for name in sorted(found.slices)},
        calibration=found.overall.student.bins,
        teacher_calibration=found.overall.teacher.bins,
        disagreements=found.worst.found(dump_tokenizer(dumps[0], chat_template=False)),
        speed=_speed(student, found),
    )


def _speed(student: MeasuredStudent, found: _Measured) -> Speed:
    return Speed(
        device=str(student.device),
        dtype=student.description.dtype,
        tokens_per_second=found.tokens / max(found.seconds, 1e-9),
        generated_per_second=generated_per_second(student.model, found.prompt),
        memory_bytes=peak_memory(student.device),
    )


def _tasks(settings: EvaluateSettings) -> list[str]:
    """Which tasks rows were split into, if they were; what these weigh is for training alone."""
    names = [name for name, weight in kind_weights(settings.tasks).items() if weight]
    return [f"--tasks {','.join(names)}"] if names else []


def _draws(dumps: Sequence[DumpFolder]) -> int:
    return dumps[0].manifest.capture.tail_samples


def _folder(settings: EvaluateSettings) -> Path:
    """Where the result goes, made if it is missing; before the work, since it may not be allowed.

    Raises:
        InputError: it cannot be written to, or must be given.
    """
    own = Path(settings.student).expanduser()
    if settings.out is None and not own.is_dir():
        raise InputError(
            f"{settings.student} is no folder of this machine, so evaluation.json needs a place. "
            "Give --out FOLDER, or check the student's path."
        )
    folder = own if settings.out is None else Path(settings.out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror or error}.") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder} cannot be written to. Give another place with --out FOLDER.")
    return folder


def _write(path: Path, evaluation: Evaluation) -> None:
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(evaluation.model_dump_json(indent=1) + "\n", "utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
