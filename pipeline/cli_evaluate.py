"""`potstill evaluate`: how good a student is, on rows that it never saw."""

import shlex
from typing import TYPE_CHECKING

from pipeline.command import Call, Spec
from stage2_student.evaluate_settings import EvaluateSettings

if TYPE_CHECKING:
    from rich.table import Table

    from stage2_student.evaluation import Evaluation


def run(call: Call) -> int:
    """Evaluates; the teacher is never loaded."""
    from pipeline.facts import facts
    from stage2_student.evaluate import evaluate

    found = evaluate(call.settings, call.output.report)
    call.output.result(found.model_dump(), facts(_shown(found)), _slices(found))
    folder = call.settings.out or call.settings.student
    gate = ["potstill", "report", folder, "--assert", f"kl<{found.overall.kl * 1.1:.2g}"]
    call.output.next(
        {
            "see it as a page": shlex.join(["potstill", "report", folder]),
            "make it a gate": shlex.join(gate),
        }
    )
    return 0


def _shown(found: "Evaluation") -> dict[str, str]:
    from pipeline.report_words import count, nats, perplexity, share, size

    m, speed = found.overall, found.speed
    return {
        "student": f"{found.student.name}: {count(found.student.parameters)} parameters, "
        f"{size(found.student.bytes)}",
        "measured on": f"{m.positions:,} positions of {m.documents:,} texts "
        f"({', '.join([found.rows, *found.only])})",
        "KL to the teacher": f"{nats(m.kl)} nat/token, 95 % interval {nats(m.kl_low)} to "
        f"{nats(m.kl_high)}",
        "top-1 agreement": share(m.agreement),
        "cross-entropy": f"{nats(m.cross_entropy)}; the teacher has "
        f"{nats(m.teacher_cross_entropy)}",
        "perplexity": f"{perplexity(m.perplexity)}; the teacher has "
        f"{perplexity(m.teacher_perplexity)}",
        "calibration error": f"{share(m.ece)}; the teacher has {share(m.teacher_ece)}",
        "speed": f"{count(speed.tokens_per_second)} tokens/s reading, "
        f"{speed.generated_per_second:.1f} writing, on {speed.device}; {size(speed.memory_bytes)}",
    }


def _slices(found: "Evaluation") -> "Table":
    from rich.table import Table

    from pipeline.plain_text import visible
    from pipeline.report_words import nats, perplexity, share

    table = Table("slice", "positions", "KL", "agreement", "perplexity", "teacher's", box=None)
    for name, m in found.slices.items():
        row = (f"{m.positions:,}", nats(m.kl), share(m.agreement))
        table.add_row(visible(name), *row, *map(perplexity, (m.perplexity, m.teacher_perplexity)))
    return table


SPEC = Spec(
    name="evaluate",
    help="Measures a student on held-out rows of dumps, the teacher never loaded: cross-entropy, "
    "perplexity, KL to the teacher, agreement, calibration, by slice; size, speed and memory. "
    "Writes evaluation.json.",
    examples=(
        "potstill evaluate student --dump dump",
        "potstill evaluate student --dump other-dump --rows all --json",
    ),
    model=EvaluateSettings,
    panels={
        "What is measured on what": ("dump", "rows", "holdout", "disagreements", "out"),
        "Which of these rows": (
            *("sources", "with_segments", "verdicts", "min_tokens", "max_tokens"),
            *("tasks", "task_prefixes"),
        ),
        "The machine": (
            *("batch_size", "dtype", "device", "cache", "cache_size", "trust_remote_code"),
        ),
    },
    positional="student",
    run=run,
)
