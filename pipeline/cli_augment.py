"""`potstill augment`: new prompts for stage one, written by the teacher after seed examples."""

import shlex
from dataclasses import asdict

from pipeline.command import Call, Spec
from stage1_teacher.augment_settings import AugmentSettings

PANELS = {
    "What is written": ("teacher", "corpus", "out", "templates", "variants", "limit"),
    "How the teacher writes": (
        *("sampling_temperature", "top_p", "max_new_tokens", "max_length"),
        *("chat_template", "unit_size", "seed"),
    ),
    "What is kept": ("max_prompt_tokens", "similarity"),
    "The teacher": (
        *("engine", "dtype", "device", "batch_tokens", "revision", "trust_remote_code"),
    ),
    "vLLM": (
        *("engine_mode", "head_dtype", "tensor_parallel_size", "pipeline_parallel_size"),
        *("quantization", "kv_cache_dtype", "gpu_memory_utilization", "max_num_batched_tokens"),
        *("max_num_seqs", "enforce_eager"),
    ),
    "Columns of the corpus": (*("prompt_column", "id_column", "source_column", "split", "subset"),),
}

EXAMPLES = (
    "potstill augment --teacher org/model --corpus seeds.jsonl --out prompts.jsonl.zst",
    "potstill augment --teacher org/model --corpus seeds.jsonl --out prompts.jsonl.zst "
    "--templates rephrase,harder --variants 3",
    "potstill augment --teacher org/model --corpus seeds.jsonl --out prompts.jsonl.zst "
    "--templates my_template.jinja --similarity 0.6",
)


def run(call: Call) -> int:
    """Augments."""
    from pipeline.facts import facts
    from pipeline.live_progress import duration
    from stage1_teacher.augment import augment, reasons_text

    done = augment(call.settings, call.output.report)
    shown = {
        "corpus": f"{done.path}, finished before" if done.finished_before else done.path,
        "new prompts": f"{done.written:,} of {done.asked:,} asked for, after {done.seeds:,} seeds",
        "by template": ", ".join(f"{n} {count:,}" for n, count in done.written_by_template.items()),
        "left out": reasons_text(done.rejected) or "none",
        "size": f"{done.bytes:,} bytes",
        "this run": duration(done.seconds),
    }
    call.output.result(asdict(done), facts(shown))
    dump = ["potstill", "dump", "--teacher", call.settings.teacher, "--corpus", done.path]
    call.output.next(
        {"let the teacher answer them": shlex.join([*dump, "--generate", "--out", "dump"])}
    )
    return 0


SPEC = Spec(
    name="augment",
    help="New prompts for stage one: the teacher writes them after seed examples, and what repeats "
    "a seed or another is left out. Run again, it continues; Ctrl-C ends it cleanly.",
    examples=EXAMPLES,
    model=AugmentSettings,
    panels=PANELS,
    run=run,
    long=True,
)
