"""The training itself: the run folder, transformers' Trainer, the published student."""

from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from schemas.errors import StoppedError
from schemas.progress import Progress, Report
from stage2_student.card import Made, model_card
from stage2_student.checkpoints import Checkpoints
from stage2_student.chosen_weights import take_chosen
from stage2_student.forward import training_forward
from stage2_student.fused_head import HeadOptions
from stage2_student.logit_transform import logit_transform
from stage2_student.other_ranks import clear_reasons
from stage2_student.parallelism import compile_layers, place, training_arguments
from stage2_student.preparation import Prepared
from stage2_student.projector_file import taken_apart, write_projectors
from stage2_student.provenance import write_provenance
from stage2_student.run_folder import locked, publish, write_run
from stage2_student.stopping import StopRequest
from stage2_student.stream import Stream
from stage2_student.trainer import DistillationTrainer
from stage2_student.training import Training
from stage2_student.training_figures import cut_lines
from stage2_student.tuning import finished, save_finished
from stage2_student.whole_tensors import tied_again


def run_training(prepared: Prepared, stop: StopRequest, report: Report) -> None:
    """Trains and publishes the student.

    Raises:
        StoppedError: somebody asked to stop; a checkpoint was saved.
        PotstillError: the run folder cannot be written, or the training cannot go on.
    """
    settings, model = prepared.settings, prepared.student.model
    training = _training(prepared, stop, report)
    arguments = training_arguments(settings, training.out, training.rate, model)
    if settings.compile:
        compile_layers(model)
    first = place()[0] == 0
    with locked(training.out) if first else nullcontext():
        if first:
            _begin(prepared, training)
        with training_forward(model, _head_options(prepared), prepared.matching):
            trainer = DistillationTrainer(model, arguments, training)
            if prepared.state:
                trainer.go_on(prepared.state)
            trainer.train(resume_from_checkpoint=_text(prepared.checkpoint))
            if trainer.state.global_step < training.rate.steps and not trainer.lowest.enough:
                raise StoppedError(_stopped(trainer.state.global_step, training))
            step = take_chosen(trainer)
            weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
            weights = tied_again(trainer.accelerator.unwrap_model(trainer.model_wrapped), weights)
        if first:
            _publish(prepared, trainer, weights, step)
    trainer.accelerator.wait_for_everyone()


def created_by() -> str:
    """Program and version."""
    try:
        return f"potstill {version('potstill')}"
    except PackageNotFoundError:
        return "potstill"


def _training(prepared: Prepared, stop: StopRequest, report: Report) -> Training:
    settings, out = prepared.settings, Path(prepared.settings.out).expanduser()
    stream, source, rate = prepared.stream, prepared.student.source, prepared.rate
    described = f"{_described(stream)}; {rate.steps:,} steps, learning rate {rate.peak:.2g}"
    report(Progress(stage="train", message=described))
    record = source and {**asdict(source), "folder": str(source.folder)}
    return Training(
        objective=prepared.objective,
        stream=stream,
        rate=rate,
        checkpoints=Checkpoints(out, settings.keep_checkpoints),
        record={"created_by": created_by(), "source": record},
        tokenizer=prepared.student.tokenizer,
        out=out,
        report=report,
        stop=stop,
        settings=settings,
        held_out=prepared.held_out,
        checkpoint=prepared.checkpoint,
    )


def _described(stream: Stream) -> str:
    """What is read, what was left out, and how full the rows are."""
    plan, shares = stream.plan(0), stream.shares()
    mixed = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    counts = stream.index.left_out.items()
    left_out = ", ".join(f"{name} left out {count:,}" for name, count in counts if count)
    return (
        f"{len(stream.index):,} sequences, {plan.tokens:,} tokens an epoch"
        f"{f' ({left_out})' if left_out else ''}, in rows of {stream.max_length}, "
        f"{plan.fill:.1%} of their places filled"
        f"{f'; of the tokens {mixed}' if len(shares) > 1 else ''}"
    )


def _head_options(prepared: Prepared) -> HeadOptions:
    return HeadOptions(
        transform=logit_transform(prepared.student.model.config.get_text_config()),
        vocabulary=prepared.dumps[0].manifest.tokenizer.head_size,
    )


def _begin(prepared: Prepared, training: Training) -> None:
    """Writes what stands in the folder from the start."""
    clear_reasons(training.out)
    training.checkpoints.clear()
    cut_lines(training.out, int(prepared.state.get("step", 0)))
    write_provenance(training.out, prepared.dumps)
    write_run(training.out, prepared.settings)


def _publish(prepared: Prepared, trainer: DistillationTrainer, weights: Any, step: int) -> None:
    settings = prepared.settings
    made = Made(
        loss=prepared.objective.written,
        steps=trainer.state.global_step,
        tokens=trainer.figures.tokens,
        weights=_chosen(trainer, step),
        created_by=created_by(),
    )
    own, projectors = taken_apart(weights)
    write_projectors(trainer.training.out, projectors)
    student, kept = finished(prepared.student, settings, prepared.dumps[0], own)

    def write(folder: Path) -> None:
        save_finished(folder, student, settings, kept)
        student.tokenizer.save_pretrained(folder)
        card = model_card(settings, prepared.dumps, student, made)
        (folder / "README.md").write_text(card, "utf-8")

    publish(trainer.training.out, write)


def _chosen(trainer: DistillationTrainer, step: int) -> str:
    """Which weights the student has, where they are not simply those of the last step."""
    lowest, decay = trainer.lowest, trainer.training.settings.ema_decay
    average = "" if decay is None else f"moving average with decay {decay:g}"
    if lowest.kl is None:
        return average
    of = f"of step {step:,}, where the KL on held-out rows was lowest: {lowest.kl:.4f} nat/token"
    return f"{average} {of}" if average else of


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _stopped(step: int, training: Training) -> str:
    return (
        f"stopped on request after step {step} of {training.rate.steps}. The checkpoint "
        f"{training.checkpoints.newest()} is kept: run the same command with --resume to go on."
    )
