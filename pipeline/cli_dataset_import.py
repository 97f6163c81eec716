"""`potstill dataset import`: another system's dump as one of ours."""

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.command import Call, Spec
from pipeline.dataset_exchange_settings import ImportSettings

if TYPE_CHECKING:
    from pipeline.dataset_import import Imported


def run(call: Call) -> int:
    """Imports, and reports on what came."""
    from rich.text import Text

    from pipeline.dataset_import import import_dump
    from pipeline.facts import facts
    from pipeline.plain_text import visible

    found = import_dump(call.settings, call.output.report)
    made, health = found.made, found.health
    shifts = {f"{shift:+d}": score for shift, score in health.scores.items()}
    data = {
        **asdict(made),
        "layout": found.layout,
        "health": {**asdict(health), "scores": shifts, "mean_mass": health.mean_mass},
        "problems": list(found.problems),
    }
    notes = [Text(f"! {visible(problem)}", style="yellow") for problem in found.problems]
    call.output.result(data, facts(_shown(found)), Text("health", style="bold"), *notes)
    train = ["potstill", "train", "--dump", made.path, "--student", "MODEL", "--out", "student"]
    call.output.next(
        {
            "prove it whole": shlex.join(["potstill", "verify", made.path]),
            "look inside": shlex.join(["potstill", "inspect", made.path]),
            "train a student from it": shlex.join(train),
        }
    )
    return 0


def _shown(found: "Imported") -> dict[str, str]:
    made, health = found.made, found.health
    shifts = ", ".join(f"{shift:+d}: {score:.2f}" for shift, score in health.scores.items())
    dropped = sum(made.left_out.values())
    return {
        "dump": made.path,
        "identity": made.identity,
        "layout": found.layout,
        "holds": f"{made.rows:,} of {health.rows:,} rows, {made.tokens:,} tokens, "
        f"{made.positions:,} positions" + (f"; {dropped:,} had none" if dropped else ""),
        "size": f"{made.bytes:,} bytes, {made.bytes / max(1, made.tokens):.1f} bytes/token",
        "alignment": f"mean log-probability of the token at each shift: {shifts} nat",
        "mass kept": f"{health.mean_mass:.4f} of each position on average, at most {health.most} "
        "entries",
    }


SPEC = Spec(
    name="dataset import",
    help="Converts another system's dump: DistillKit's compressed Parquet, axolotl's kd datasets, "
    "Megatron-LM's cached logits. Reports on its health first: at which shift its distributions "
    "fit its tokens (and moves them there), how much of the probability was kept, repeated BOS, "
    "what nobody stated.",
    examples=(
        "potstill dataset import logits --tokenizer org/model --teacher org/model --out dump "
        "--license unknown",
        "potstill dataset import logits --from megatron --tokens tokens.npy --tokenizer ./model "
        "--teacher-license apache-2.0 --corpus-license odc-by --out dump",
    ),
    model=ImportSettings,
    panels={
        "What is imported": ("from_", "tokenizer", "tokens", "compression_config"),
        "What it does not say": (
            *("teacher", "head_size", "teacher_license", "output_terms", "corpus_license"),
            "license",
        ),
        "The new dump": ("out", "shard_size"),
    },
    positional="path",
    run=run,
    long=True,
)
