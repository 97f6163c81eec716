"""`potstill dump`: stage one."""

import shlex
from dataclasses import asdict

import click

from pipeline.command import Call, Spec
from schemas.errors import SetAsideError
from stage1_teacher.settings import DumpSettings

PANELS = {
    "What is dumped": ("teacher", "corpus", "out", "limit"),
    "The teacher": (
        *("engine", "dtype", "device", "batch_tokens", "revision"),
        *("trust_remote_code", "chat_template"),
    ),
    "vLLM (--engine vllm)": (
        *("engine_mode", "head_dtype", "tensor_parallel_size", "pipeline_parallel_size"),
        *("quantization", "kv_cache_dtype", "gpu_memory_utilization", "max_num_batched_tokens"),
        *("max_num_seqs", "enforce_eager"),
    ),
    "What is kept": (
        *("min_prob", "top_k", "tail_samples", "temperatures", "max_logit"),
        *("hidden_layers", "hidden_codec", "hidden_projection", "capture_roles"),
    ),
    "How rows become sequences": ("max_length", "long_texts", "window_overlap", "system_prompt"),
    "Responses that the teacher writes (--generate)": (
        *("generate", "samples_per_prompt", "sampling_temperature", "top_p", "max_new_tokens"),
        *("stop", "reasoning_template", "parser", "parser_argument"),
        *("verifier", "verifier_argument", "gold_column"),
        *("keep", "keep_truncated", "deduplicate", "similarity"),
    ),
    "Columns of the corpus": (
        *("text_column", "prompt_column", "response_column", "messages_column"),
        *("id_column", "source_column", "split", "subset"),
    ),
    "Units and chance": ("unit_size", "seed"),
    "How it runs": ("max_failed", "grace", "worker"),
    "A cluster (--cluster ray)": (
        *("cluster", "cluster_workers", "cluster_most_workers", "gpus_per_worker"),
        *("cpus_per_worker", "ray_address"),
    ),
    "Audit": ("gold",),
    "Private data": (
        *("drop_fields", "hash_fields", "text", "scrub", "scrub_model", "scrub_language"),
        "probability_floor",
    ),
    "Licences": ("teacher_license", "output_terms", "corpus_license", "license"),
}

EXAMPLES = (
    "potstill dump --teacher org/model --corpus texts.jsonl --corpus-license odc-by --out dump",
    "potstill dump --teacher org/model --corpus texts.jsonl --out dump --preview 5",
    "potstill dump --teacher ./model --corpus chats.parquet --license unknown --out dump "
    "--top-k 128 --limit 1000",
    "potstill dump --teacher org/model --corpus problems.jsonl --corpus-license mit --out dump "
    "--generate --reasoning-template answer_is --verifier numeric --samples-per-prompt 4",
    "potstill dump dump.yaml --dtype float32 --show-config",
)


NO_ROWS = "The dump is whole and empty: no row of the corpus gave a sequence."
NOTHING_KEPT = (
    "The dump is whole and empty: no response was kept. Look at what the teacher writes with "
    "--keep all --keep-truncated, --limit 5 and another --out, then `potstill inspect`."
)


def run(call: Call) -> int:
    """Previews, checks or dumps."""
    if call.switches["preview"]:
        return _preview(call, call.switches["preview"])
    if call.switches["dry_run"]:
        return _check(call)
    return _dump(call)


def _preview(call: Call, rows: int) -> int:
    from pipeline.preview_view import preview_view
    from stage1_teacher.preview import preview

    samples = preview(call.settings, rows)
    call.output.result({"samples": [asdict(s) for s in samples]}, preview_view(samples))
    return 0


def _check(call: Call) -> int:
    from pipeline.facts import facts
    from pipeline.report_words import count, size
    from stage1_teacher.card import policy_sentence
    from stage1_teacher.dump_estimate import check

    found = check(call.settings, call.output.report)
    about = "at most about" if found.most else "about"
    shown = {
        "checked": "options, place, teacher's configuration and tokenizer, corpus: all fine",
        "corpus": f"{found.rows:,} rows in {found.units:,} units",
        "sequences": f"{about} {count(found.sequences)}, {count(found.tokens)} tokens, "
        f"{count(found.positions)} with signals",
        "kept per position": policy_sentence(call.settings.capture()),
        "size": f"{about} {size(found.bytes)}, {found.bytes_per_token:.0f} bytes/token",
    }
    if found.hidden_bytes_per_token:
        shown["hidden states"] = f"{found.hidden_bytes_per_token:.0f} of these bytes/token"
    if found.truncated:
        shown["cut"] = f"about {found.truncated:,} rows are longer than --max-length"
    call.output.result({"dry_run": True, **asdict(found)}, facts(shown))
    return 0


def _dump(call: Call) -> int:
    from pipeline.facts import alignment_text, facts, responses_text, set_aside_text
    from pipeline.live_progress import duration
    from stage1_teacher.run import dump

    done = dump(call.settings, call.output.report)
    alignment = done.alignment.model_dump()
    counts = done.generation
    shown = {
        "dump": f"{done.path}, finished before" if done.finished_before else done.path,
        "identity": done.identity,
        "sequences": f"{done.rows:,}, {done.tokens:,} tokens, {done.positions:,} with signals",
        "size": f"{done.bytes:,} bytes, {done.bytes_per_token:.1f} bytes/token",
        "alignment": alignment_text(alignment),
    }
    if done.hidden_bytes_per_token:
        shown["hidden states"] = f"{done.hidden_bytes_per_token:.1f} bytes/token more"
    if counts:
        shown["responses"] = responses_text(counts)
    if done.skipped or done.truncated:
        shown["rows"] = f"{done.skipped:,} skipped, {done.truncated:,} cut"
    if done.failed:
        shown["set aside"] = set_aside_text(done.failed)
    if done.units_done:
        shown["this run"] = (
            f"{done.units_done:,} of {done.units:,} units in {duration(done.seconds)}, "
            f"{done.tokens_per_second:,.0f} tokens/s"
        )
    generation = {**counts.model_dump(), "acceptance": counts.acceptance} if counts else None
    result = {**asdict(done), "alignment": alignment, "generation": generation}
    call.output.result(result, facts(shown))
    if not done.rows:
        call.output.note(NOTHING_KEPT if counts else NO_ROWS)
        return SetAsideError.exit_code
    call.output.next(
        {
            "prove it whole": shlex.join(["potstill", "verify", done.path]),
            "look inside": shlex.join(["potstill", "inspect", done.path]),
            "train a student from it": shlex.join(
                ["potstill", "train", "--dump", done.path, "--student", "MODEL", "--out", "student"]
            ),
        }
    )
    return SetAsideError.exit_code if done.failed else 0


SPEC = Spec(
    name="dump",
    help="Stage one: runs the teacher once over a corpus and writes what it knows to a dump. Run "
    "again, it continues; Ctrl-C ends it cleanly.",
    examples=EXAMPLES,
    model=DumpSettings,
    panels=PANELS,
    run=run,
    switches=(
        click.Option(
            ["--preview"],
            type=click.IntRange(min=1),
            metavar="ROWS",
            help="Show this many prompts as the teacher would see them; start no engine.",
        ),
        click.Option(
            ["--dry-run"], is_flag=True, help="Make every check that needs no model, and stop."
        ),
    ),
    long=True,
)
