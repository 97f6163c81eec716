"""Which weights of a training become the student: the last, or those of the lowest held-out KL."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from schemas.errors import DamagedError
from stage2_student.adapter import saved_name
from stage2_student.projector_file import named_projectors
from stage2_student.whole_tensors import put_whole

if TYPE_CHECKING:
    from stage2_student.trainer import DistillationTrainer


def take_chosen(trainer: "DistillationTrainer") -> int:
    """Puts the chosen weights into the model, averaged where that was asked for; gives their step.

    Every rank must call this.

    Raises:
        DamagedError: the checkpoint that has them lacks some.
    """
    step = trainer.lowest.step or trainer.state.global_step
    if step != trainer.state.global_step:
        checkpoint = trainer.training.checkpoints.of_step(step)
        if trainer.average is None:
            _load(trainer.accelerator.unwrap_model(trainer.model_wrapped), checkpoint)
        else:
            trainer.average.load(checkpoint)
    if trainer.average is not None:
        trainer.average.put()
    return step


def _load(model: torch.nn.Module, checkpoint: Path) -> None:
    """The weights of a checkpoint; tied ones stand in it once, as among the parameters."""
    from safetensors.torch import load_file

    saved = named_projectors(checkpoint)
    for path in sorted(checkpoint.glob("*.safetensors")):
        saved |= load_file(path)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if saved_name(name) not in saved:
            raise DamagedError(
                f"{checkpoint} holds no {name}, and its weights are the best of this training. "
                "Delete that checkpoint, then run the same command with --resume."
            )
        put_whole(parameter, saved[saved_name(name)])
