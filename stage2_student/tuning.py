"""Which parameters of a student a training changes, and what becomes of adapters at its end."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from schemas.dump_folder import DumpFolder
from stage2_student.adapter import add_adapter, load_adapter, merged, save_adapter
from stage2_student.finished_model import save_model
from stage2_student.run_folder import absolute
from stage2_student.settings import TrainSettings
from stage2_student.student import Student, open_student


def tune(model: Any, settings: TrainSettings, checkpoint: Path | None) -> None:
    """Freezes what the settings say, and puts adapters in, as a checkpoint left them.

    Raises:
        ConfigError: adapters cannot be put into this model.
        DamagedError: the checkpoint's adapters cannot be read.
    """
    parts = {"embeddings": model.get_input_embeddings(), "head": model.get_output_embeddings()}
    for name in settings.freeze:
        parts[name].requires_grad_(False)
    if settings.lora_rank is not None:
        add_adapter(model, settings, absolute(settings.student or ""))
        if checkpoint is not None:
            load_adapter(model, checkpoint)


def finished(
    student: Student,
    settings: TrainSettings,
    dump: DumpFolder,
    weights: Mapping[str, torch.Tensor],
) -> tuple[Student, Mapping[str, torch.Tensor]]:
    """The student to save and its weights: adapters merged into the model that they began over."""
    if settings.lora_rank is None or settings.keep_adapter:
        return student, weights
    model = merged(open_student(settings, dump).model, settings, weights)
    return replace(student, model=model), model.state_dict()


def save_finished(
    folder: Path, student: Student, settings: TrainSettings, weights: Mapping[str, torch.Tensor]
) -> None:
    """Writes what `finished` gave: a model folder, or the adapter's."""
    if settings.keep_adapter:
        save_adapter(folder, student.model, weights)
    else:
        save_model(folder, student.model, weights, settings.dtype)
