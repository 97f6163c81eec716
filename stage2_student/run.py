"""Stage two from end to end: checks, student, data, training, and a folder that anyone can load."""

from dataclasses import dataclass
from pathlib import Path

from schemas.errors import StoppedError
from schemas.progress import Progress, Report, ignore
from stage2_student.finished_model import count_parameters
from stage2_student.other_ranks import shared_reasons
from stage2_student.preparation import checked_dumps, checked_objective, prepare
from stage2_student.quiet import without_progress_bars
from stage2_student.run_failures import explained
from stage2_student.run_folder import is_finished, look_at
from stage2_student.settings import TrainSettings
from stage2_student.stopping import StopRequest, stop_request
from stage2_student.training_figures import read_lines
from stage2_student.zero2 import check_deepspeed


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSummary:
    """What a finished training came to, all of its runs together.

    Attributes:
        path: the student's folder.
        finished_before: the student was finished already; nothing was done.
        resumed_at: the step at which this run began; 0 for the beginning.
        steps: optimizer steps.
        tokens: tokens seen, over all processes.
        loss: mean of the last logged steps.
        seconds: time of training.
        tokens_per_second: tokens over seconds.
        parameters: of the student, tied ones counted once.
        held_out_kl: the lowest KL on held-out rows, of the student; None where none was measured.
        best_step: where it was measured.
    """

    path: str
    finished_before: bool
    resumed_at: int
    steps: int
    tokens: int
    loss: float
    seconds: float
    tokens_per_second: float
    parameters: int
    held_out_kl: float | None
    best_step: int | None


def train(settings: TrainSettings, report: Report = ignore) -> TrainSummary:
    """Trains a student on dumps, or goes on where an earlier run stopped.

    Under torchrun every process calls this; the first one writes.

    Raises:
        PotstillError: something is wrong with the input, the folder or the store; see its text.
        StoppedError: Ctrl-C or SIGTERM; a checkpoint was saved if training had begun.
    """
    with stop_request() as stop, without_progress_bars():
        try:
            return _train(settings, report, stop)
        except KeyboardInterrupt:
            raise StoppedError(
                f"stopped on request. Checkpoints in {settings.out} are kept: run the same command "
                "with --resume to go on."
            ) from None


def _train(settings: TrainSettings, report: Report, stop: StopRequest) -> TrainSummary:
    check_deepspeed(settings.parallel == "zero2")
    dumps = checked_dumps(settings)
    objective = checked_objective(settings, dumps)
    out = Path(settings.out).expanduser()
    checkpoint = look_at(settings)
    if is_finished(out):
        return _summary(out, resumed_at=0, finished_before=True)
    report(Progress(stage="load student", message="loading the student"))
    from stage2_student.training_run import run_training

    with shared_reasons(out):
        prepared = prepare(settings, dumps, objective, checkpoint, report)
        with explained(out):
            run_training(prepared, stop, report)
    return _summary(out, resumed_at=int(prepared.state.get("step", 0)), finished_before=False)


def _summary(out: Path, resumed_at: int, finished_before: bool) -> TrainSummary:
    lines = read_lines(out)
    last, measured = lines[-1], [line for line in lines if "held_out_kl" in line]
    best = min(measured, key=lambda line: float(line["held_out_kl"]), default={})
    return TrainSummary(
        path=str(out),
        finished_before=finished_before,
        resumed_at=resumed_at,
        steps=last["step"],
        tokens=last["tokens"],
        loss=last["loss"],
        seconds=last["seconds"],
        tokens_per_second=last["tokens"] / max(last["seconds"], 1e-9),
        parameters=count_parameters(out),
        held_out_kl=best.get("held_out_kl"),
        best_step=best.get("step"),
    )
