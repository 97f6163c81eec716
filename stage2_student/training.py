"""What a training needs besides the student."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.progress import Report
from stage2_student.checkpoints import Checkpoints
from stage2_student.held_out import HeldOut
from stage2_student.objective import Objective
from stage2_student.schedule import LearningRate
from stage2_student.settings import TrainSettings
from stage2_student.stopping import StopRequest
from stage2_student.stream import Stream


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Training:
    """What a training needs besides the student.

    Attributes:
        objective: what is minimised.
        stream: this rank's batches.
        rate: the learning rate's schedule.
        checkpoints: where state is kept.
        record: what a checkpoint repeats, so that it can be told whether it is continued.
        tokenizer: saved with every checkpoint.
        out: the run folder.
        report: told about the progress.
        stop: looked at between steps.
        settings: of the training.
        held_out: what is measured on the way, if anything is.
        checkpoint: that is gone on from; None at the beginning.
    """

    objective: Objective
    stream: Stream
    rate: LearningRate
    checkpoints: Checkpoints
    record: dict[str, Any]
    tokenizer: Any
    out: Path
    report: Report
    stop: StopRequest
    settings: TrainSettings
    held_out: HeldOut | None
    checkpoint: Path | None
