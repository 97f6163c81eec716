"""`potstill train`: stage two."""

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline import student_commands
from pipeline.command import Call, Spec
from stage2_student.settings import TrainSettings

if TYPE_CHECKING:
    from stage2_student.run import TrainSummary

PANELS = {
    "What is trained": ("dump", "student", "student_layers", "student_config", "out", "resume"),
    "Which weights": (
        *("freeze", "lora_rank", "lora_alpha", "lora_targets", "dora", "keep_adapter"),
    ),
    "The loss": ("loss", "temperature", "tail", "ce_weight", "ce_warmup_steps"),
    "What counts in it": (
        *("train_on", "token_weights", "weigh_by", "wrong_weight"),
        *("tasks", "task_prefixes"),
    ),
    "Which rows, and how often": (
        *("sources", "with_segments", "verdicts", "min_tokens", "max_tokens"),
        *("dump_weights", "mix_temperature", "max_passes", "curriculum"),
    ),
    "How long, and how much at once": (
        *("steps", "epochs", "batch_size", "max_length", "grad_accumulation", "packing"),
        "holdout",
    ),
    "The optimizer": (
        *("learning_rate", "schedule", "warmup_steps", "decay_steps", "min_lr_ratio"),
        *("weight_decay", "betas", "max_grad_norm", "ema_decay"),
    ),
    "What is measured on the way": ("eval_steps", "eval_rows", "patience"),
    "The machine": (
        *("dtype", "gradient_checkpointing", "compile", "parallel", "seed"),
        *("cache", "cache_size"),
    ),
    "Checkpoints and logs": ("save_steps", "keep_checkpoints", "log_steps", "report_to"),
    "Trust": ("expect_dump", "forbid_license", "dump_chat_template", "trust_remote_code"),
}

EXAMPLES = (
    "potstill train --dump dump --student org/small-model --out student",
    "potstill train --dump dump --student ./teacher --student-layers 0,4,8,12 --out student",
    "potstill train --dump 'dumps/*' --student-config config.json --out student --steps 10000",
    "potstill train --dump dump --student org/small-model --out student "
    "--loss '0.9*fkl(temperature=2) + 0.1*ce'",
    "potstill train student/run.yaml --resume",
)


def run(call: Call) -> int:
    """Trains; ends with commands to try on the student."""
    from pipeline.facts import facts
    from stage2_student.run import train

    done = train(call.settings, call.output.report)
    call.output.result(asdict(done), facts(_shown(done)))
    call.output.next(next_commands(call.settings))
    return 0


def next_commands(settings: TrainSettings) -> dict[str, str]:
    """What to type next; an adapter alone is no model that other programs load by its folder."""
    out, dumps = settings.out, settings.dump
    measure = ["potstill", "evaluate", out, *(w for dump in dumps for w in ("--dump", dump))]
    commands = {"measure it on held-out rows": shlex.join(measure)}
    if settings.keep_adapter:
        return commands
    return commands | {
        "chat with it in transformers": student_commands.chat(out),
        "serve it with vLLM": student_commands.serve(out),
        "evaluate it with lm-eval (it downloads the task)": student_commands.lm_eval(
            out, "hellaswag"
        ),
    }


def _shown(done: "TrainSummary") -> dict[str, str]:
    from pipeline.live_progress import duration
    from pipeline.report_words import count

    shown = {
        "student": f"{done.path}, finished before" if done.finished_before else done.path,
        "parameters": count(done.parameters),
        "steps": f"{done.steps:,}, {done.tokens:,} tokens",
        "loss": f"{done.loss:.4f}, mean of the last logged steps",
        "time": f"{duration(done.seconds)}, {done.tokens_per_second:,.0f} tokens/s",
    }
    if done.held_out_kl is not None:
        of = f"step {done.best_step:,}, whose weights were taken"
        shown["held-out KL"] = f"{done.held_out_kl:.4f} at {of}"
    if done.resumed_at:
        shown["went on"] = f"from step {done.resumed_at:,}"
    return shown


SPEC = Spec(
    name="train",
    help="Stage two: trains a student from dumps, the teacher gone. The student becomes an "
    "ordinary model folder; with --resume an interrupted training goes on.",
    examples=EXAMPLES,
    model=TrainSettings,
    panels=PANELS,
    run=run,
    long=True,
)
