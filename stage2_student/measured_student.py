"""A student on its device, run over batches of a dump for measuring, its head read in blocks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from schemas.dump_folder import DumpFolder
from schemas.errors import ConfigError, ModelError
from stage2_student.batch import Batch
from stage2_student.distillation import HeadReading, read_head
from stage2_student.evaluate_settings import EvaluateSettings
from stage2_student.evaluation import StudentModel
from stage2_student.forward import hidden_states
from stage2_student.forward_proof import prove_logits
from stage2_student.fused_head import HeadOptions, blocks_of, make_products
from stage2_student.logit_transform import logit_transform
from stage2_student.quiet import without_progress_bars
from stage2_student.settings import TrainSettings
from stage2_student.student import open_student
from stage2_student.student_speed import describe

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredStudent:
    """A student ready to be measured.

    Attributes:
        model: a transformers causal language model in evaluation mode.
        description: what it is.
        options: how its logits are made and cut to the teacher's vocabulary.
        tokenizer: its own.
    """

    model: Any
    description: StudentModel
    options: HeadOptions
    tokenizer: Any

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        device: torch.device = self.model.device
        return device

    @torch.no_grad()
    def read(self, batch: Batch) -> tuple[torch.Tensor, HeadReading]:
        """Hidden states [N, D] at the targets of a batch on its device, and what they say.

        Raises:
            ModelError: the student's head is too narrow for the dump, or its numbers not finite.
        """
        self._check_ids(batch)
        targets = batch.targets
        hidden_BTD = hidden_states(self.model, batch.input_ids, batch.position_ids)
        hidden_ND = hidden_BTD.flatten(0, 1)[targets.rows_N]
        head = self.model.get_output_embeddings()
        reading = read_head(hidden_ND, head.weight, targets, bias_V=head.bias, options=self.options)
        if not torch.isfinite(reading.best_logprobs_N).all():
            raise ModelError(
                f"{self.description.name} gives numbers that are not finite, on {_names(batch)}. "
                "Its training diverged, or --dtype float32 is needed."
            )
        return hidden_ND, reading

    @torch.no_grad()
    def probabilities(self, hidden_nD: torch.Tensor) -> torch.Tensor:
        """[n, V] what a few rows say of every token."""
        head = self.model.get_output_embeddings()
        products = make_products(hidden_nD, head.weight, head.bias, self.options)
        blocks = blocks_of(len(hidden_nD), products.block_rows)
        return torch.cat([products.logits(rows).softmax(dim=1) for rows in blocks])

    def _check_ids(self, batch: Batch) -> None:
        rows = self.model.get_output_embeddings().weight.shape[0]
        targets = batch.targets
        tensors = (batch.input_ids, targets.labels_N, targets.ids_NK, targets.tail_ids_NS)
        largest = max(int(ids.max()) for ids in tensors if ids.numel())
        if largest >= rows:
            raise ModelError(
                f"the vocabulary of {self.description.name} has {rows} entries, and the dump holds "
                f"the id {largest} (in {_names(batch)}). Take a student with a wider head."
            )


def open_measured(settings: EvaluateSettings, dump: DumpFolder) -> MeasuredStudent:
    """Loads a student and proves that its logits are read rightly.

    Raises:
        MismatchError: its tokenizer is not the dump's; shows both fingerprints.
        ModelError: it cannot be loaded, or is of an architecture that cannot be read.
        ConfigError: there is no such device.
    """
    described = TrainSettings(
        dump=settings.dump,
        student=settings.student,
        out=settings.out or settings.student,
        trust_remote_code=settings.trust_remote_code,
    )
    with without_progress_bars():
        student = open_student(described, dump)
    transform = logit_transform(student.model.config.get_text_config())
    prove_logits(student.model, transform)
    with _explained(settings.device):
        model = student.model.to(_device(settings.device), _DTYPES[settings.dtype]).eval()
    folder = student.source.folder if student.source else Path(settings.student)
    name = folder.resolve().name if Path(settings.student).is_dir() else settings.student
    return MeasuredStudent(
        model=model,
        description=describe(model, folder, name, settings.dtype),
        options=HeadOptions(transform=transform, vocabulary=dump.manifest.tokenizer.head_size),
        tokenizer=student.tokenizer,
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


@contextmanager
def _explained(device: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"the student cannot be put on --device {device}: {reason}. Take auto or cpu."
        ) from error


def _names(batch: Batch) -> str:
    names = [document.id for document in batch.documents]
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
