"""transformers' Trainer with our loss, data, schedule, checkpoints and log.

What is ours: the loss comes out of the student's own forward (`forward.py`) as a sum over
positions, and is divided by the weights of the whole optimizer step, over all ranks and micro-
batches. The data is our stream, read without a DataLoader, so that it continues exactly where a
checkpoint left it. Everything else (wrapping, mixed precision, optimizer, accumulation) is theirs.
"""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from schemas.errors import InputError, ModelError
from schemas.progress import Progress
from stage2_student.adapter import save_adapter
from stage2_student.batch import Batch
from stage2_student.checkpoints import write_state
from stage2_student.held_out import Measured
from stage2_student.moving_average import MovingAverage, averaged
from stage2_student.optimizer_state import load_optimizer, save_optimizer
from stage2_student.parallelism import check_parallelism, keep_sums_in_float32
from stage2_student.projector_file import taken_apart, write_projectors
from stage2_student.run_failures import diverged, nothing_weighs, weightless
from stage2_student.training import Training
from stage2_student.training_figures import Figures, LiveReport, append_line
from stage2_student.watch import Lowest, Watch
from stage2_student.whole_tensors import reshard, tied_again

_SHOWN, _PATIENCE = 5, 10


class DistillationTrainer(Trainer):  # type: ignore[misc]  # transformers' types are left out
    """Trains a student whose forward was replaced by `training_forward`."""

    loss_is_scaled_for_ga = True

    def __init__(self, model: Any, arguments: TrainingArguments, training: Training) -> None:
        cache = model.config.use_cache
        settings = training.settings
        self.lowest = Lowest(patience=settings.patience)
        watch = [Watch(self, settings.eval_steps, self.lowest)] if settings.eval_steps else []
        super().__init__(model=model, args=arguments, callbacks=[_Flow(self, training), *watch])
        model.config.use_cache = cache
        self.remove_callback(PrinterCallback)
        self.model_accepts_loss_kwargs = True
        self.training = training
        self.figures = Figures(terms=training.objective.labels)
        self.average: MovingAverage | None = None
        self._measured: dict[str, float] = {}
        self._suspects: list[str] = []
        self._weighed = False
        self._vocabulary = model.get_output_embeddings().weight.shape[0]
        check_parallelism(self.accelerator, arguments)
        keep_sums_in_float32(self.accelerator)

    def go_on(self, state: dict[str, Any]) -> None:
        """Takes data and figures to where a checkpoint left them; `train` does the rest."""
        self.training.stream.load_state_dict(state["stream"])
        self.figures.load(state["figures"], self.is_world_process_zero())
        self.lowest.load(state["lowest"])

    def get_train_dataloader(self) -> Any:
        """The stream itself; it knows its rank, and never ends."""
        return self.training.stream

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor]:
        """The micro-batches of one step, and the weights of its positions over all ranks."""
        started = time.monotonic()
        batches = [next(epoch_iterator) for _ in range(num_batches)]
        self.figures.waited(time.monotonic() - started)
        weights = sum(float(batch.targets.weights_N.sum()) for batch in batches)
        sums = torch.tensor([weights, float(self.training.stop.asked)], device=device)
        sums = self.accelerator.reduce(sums, reduction="sum")
        self._stop_agreed = sums[1]
        self._weighed = self._weighed or bool(sums[0] > 0)
        if sums[0] == 0:
            self._weightless(self.state.global_step + 1)
        return batches, sums[0].clamp(min=torch.finfo(torch.float32).tiny)

    def _weightless(self, step: int) -> None:
        """Says so; every rank stops where no step of the beginning has any weight."""
        if not self._weighed and step == min(_PATIENCE, self.training.rate.steps):
            raise InputError(nothing_weighs(step))
        if self.is_world_process_zero():
            self.training.report(Progress(stage="train", message=weightless(step)))

    def begin_average(self) -> None:
        """Begins the average of the weights, or goes on with it, where one is asked for."""
        decay, checkpoint = self.training.settings.ema_decay, self.training.checkpoint
        if decay is not None:
            self.average = MovingAverage(self.accelerator.unwrap_model(self.model_wrapped), decay)
            if checkpoint is not None:
                self.average.load(checkpoint)

    def step_done(self) -> None:
        """The weights are good: they are averaged, and older checkpoints may go."""
        if self.average is not None:
            self.average.update(self.state.global_step)
        if self.is_world_process_zero():
            self.training.checkpoints.tidy(self.lowest.step)

    def stop_agreed(self) -> bool:
        """Whether a rank was asked to stop; all ranks give the same answer."""
        if self.accelerator.num_processes == 1:
            return self.training.stop.asked
        return bool(self._stop_agreed > 0)

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        self._check_ids(inputs)
        return inputs.to(self.args.device)

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The micro-batch's share of the step's mean; DDP and FSDP then average over ranks."""
        objective = self.training.objective.at(self.state.global_step, self.training.rate.steps)
        total, terms = model(inputs, objective)
        total = self._spread_if_not_finite(inputs, total)
        weights = float(inputs.targets.weights_N.sum())
        tokens = sum(document.length for document in inputs.documents)
        self.figures.add(total, terms, weights, tokens, inputs.input_ids.numel())
        loss: torch.Tensor = total / num_items_in_batch * self.accelerator.num_processes
        return loss

    def _spread_if_not_finite(self, inputs: Batch, total: torch.Tensor) -> Any:
        """NaN in place of a loss that is no finite number: all ranks find it in the norm."""
        if torch.isfinite(total):
            return total
        self._suspects += [document.id for document in inputs.documents]
        return total * torch.nan

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The norm over all ranks; every rank stops here, before the weights are touched."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if norm is not None and not math.isfinite(norm):  # DeepSpeed may give none
            names = gather_object(self._suspects)
            raise ModelError(diverged(self.state.global_step, names))
        return norm

    def measure(self) -> Measured:
        """What the student, or its average, does on the held-out rows; every rank calls this."""
        held_out, model = self.training.held_out, self.model_wrapped
        if held_out is None:
            raise ValueError("nothing is held out")
        model.eval()
        with averaged(self.average):
            found = held_out.measure(
                lambda batch, objective: model(self._prepare_inputs(batch), objective),
                self._sum_of_ranks,
            )
        reshard(model)
        model.train()
        self._measured = {"held_out_kl": found.kl, "held_out_ce": found.ce}
        return found

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Our schedule; `rate` gives the same as a function of the step."""
        rate = self.training.rate
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer,
            lambda step: rate(step),  # noqa: PLW0108 - of other callables it would save the fields
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """A line of train_log.jsonl; then to trackers, if any."""
        if "loss" not in logs:
            return
        line: dict[str, float] = {"step": self.state.global_step}
        line |= self.figures.line(self._sum_of_ranks)
        line |= {str(name): logs[name] for name in ("learning_rate", "grad_norm") if name in logs}
        line |= self._measured
        self._measured = {}
        if self.is_world_process_zero():
            append_line(self.training.out, line)
        super().log({name: line[name] for name in line if name != "step"}, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step, checkpoints = self.state.global_step, self.training.checkpoints
        folder = checkpoints.begin(step)
        folder.mkdir(parents=True, exist_ok=True)
        self.save_model(str(folder), _internal_call=True)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        self._save_rng_state(str(folder))
        if self.average is not None:
            self.average.save(folder, self.is_world_process_zero())
        state = {
            **self.training.record,
            "step": step,
            "stream": self.training.stream.state_dict(),
            "figures": self.figures.state(self._sum_of_ranks),
            "lowest": self.lowest.state(),
        }
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            self.training.tokenizer.save_pretrained(folder)
            self.state.save_to_json(str(folder / "trainer_state.json"))
            write_state(folder, state)
            checkpoints.commit(step)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The model alone: no pickled arguments beside it, and projectors apart."""
        model, folder = self.accelerator.unwrap_model(self.model), Path(str(output_dir))
        own, projectors = taken_apart(tied_again(model, state_dict or model.state_dict()))
        if self.training.settings.lora_rank is None:
            model.save_pretrained(folder, state_dict=own)
        else:
            save_adapter(folder, model, own)
        write_projectors(folder, projectors)

    def _prepare_for_training(self, max_steps: int, data: Any, checkpoint: str | None) -> Any:
        """Goes on from our checkpoint under DeepSpeed, too, which would look for its own."""
        prepared = super()._prepare_for_training(max_steps, data, None)
        self._load_optimizer_and_scheduler(checkpoint)
        return prepared

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        parts = self.model_wrapped, self.optimizer.optimizer, self.lr_scheduler
        save_optimizer(*parts, Path(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            parts = self.model_wrapped, self.optimizer.optimizer, self.lr_scheduler
            load_optimizer(*parts, Path(checkpoint))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing: the student was built from the checkpoint's own model folder."""

    def _sum_of_ranks(self, sums: torch.Tensor) -> torch.Tensor:
        if self.accelerator.num_processes == 1:
            return sums
        reduced: torch.Tensor = self.accelerator.reduce(sums.to(self.args.device), reduction="sum")
        return reduced.cpu()

    def _check_ids(self, batch: Batch) -> None:
        """A head narrower than the teacher's is fine as long as no kept id lies beyond it."""
        targets = batch.targets
        tensors = (batch.input_ids, targets.labels_N, targets.ids_NK, targets.tail_ids_NS)
        largest = max(int(ids.max()) for ids in tensors if ids.numel())
        if largest >= self._vocabulary:
            raise ModelError(
                f"the student's vocabulary has {self._vocabulary} entries, and the dump holds the "
                f"id {largest} (in {_names(batch)}). Take a student with a wider head."
            )


class _Flow(TrainerCallback):  # type: ignore[misc]
    """Between steps: progress, stopping, and what is logged and saved at the end."""

    def __init__(self, trainer: DistillationTrainer, training: Training) -> None:
        self._trainer = trainer
        self._stop = training.stop
        self._live = LiveReport(training.report, training.rate.steps)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Intervals are this run's, also when a checkpoint was saved with others."""
        state.compute_steps(args, state.max_steps)
        self._trainer.begin_average()
        self._trainer.figures.start()
        self._stop.training = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After the last step the finished student is saved, which needs no checkpoint beside."""
        self._trainer.step_done()
        if self._trainer.is_world_process_zero():
            self._live.tell(state.global_step, self._trainer.figures)
        if state.global_step >= state.max_steps:
            control.should_log, control.should_save = True, False
        elif self._trainer.stop_agreed():
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """From here on a signal interrupts again."""
        self._stop.training = False


def _names(batch: Batch) -> str:
    names = [document.id for document in batch.documents]
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
