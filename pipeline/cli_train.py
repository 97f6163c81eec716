"""`potstill train`: stage two."""

import shlex
from dataclasses import asdict

from pipeline import student_commands
from pipeline.command import Call, Spec
from stage2_student.settings import TrainSettings

PANELS = {
    "What is trained": ("dump", "student", "student_layers", "student_config", "out", "resume"),
    "The loss": ("loss", "temperature", "tail", "ce_weight", "train_on"),
    "How long, and how much at once": (
        *("steps", "epochs", "batch_size", "max_length", "grad_accumulation", "packing"),
        "holdout",
    ),
    "The optimizer": (
        *("learning_rate", "schedule", "warmup_steps", "decay_steps", "min_lr_ratio"),
        *("weight_decay", "betas", "max_grad_norm"),
    ),
    "The machine": ("dtype", "gradient_checkpointing", "parallel", "seed"),
    "Checkpoints and logs": ("save_steps", "keep_checkpoints", "log_steps", "report_to"),
    "Trust": ("expect_dump", "dump_chat_template", "trust_remote_code"),
}

EXAMPLES = (
    "potstill train --dump dump --student org/small-model --out student",
    "potstill train --dump dump --student ./teacher --student-layers 0,4,8,12 --out student",
    "potstill train --dump 'dumps/*' --student-config config.json --out student --steps 10000",
    "potstill train student/run.yaml --resume",
)


def run(call: Call) -> int:
    """Trains; ends with commands to try on the student."""
    from pipeline.inspection_view import facts
    from stage2_student.run import train

    done = asdict(train(call.settings, call.output.report))
    call.output.result(done, facts({name: _shown(value) for name, value in done.items()}))
    out, dumps = call.settings.out, call.settings.dump
    measure = ["potstill", "evaluate", out, *(w for dump in dumps for w in ("--dump", dump))]
    call.output.next(
        {
            "measure it on held-out rows": shlex.join(measure),
            "chat with it in transformers": student_commands.chat(out),
            "serve it with vLLM": student_commands.serve(out),
            "evaluate it with lm-eval": student_commands.lm_eval(out, "hellaswag"),
        }
    )
    return 0


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


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
