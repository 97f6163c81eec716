"""`potstill dataset diff`: two dumps beside each other."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.command import Call, Spec
from pipeline.dataset_settings import DiffSettings

if TYPE_CHECKING:
    from pipeline.dataset_comparison import Comparison


def run(call: Call) -> int:
    """Compares; exit code 1 when something differs."""
    from pipeline.dataset_diff import diff
    from pipeline.facts import facts

    found = diff(call.settings, call.output.report)
    rows = {
        "a": found.a,
        "b": found.b,
        "settings": "; ".join(found.settings) or "the same",
        "rows": f"{found.same_rows:,} the same, {found.only_a:,} only in a, {found.only_b:,} only "
        f"in b, {found.other_tokens:,} with the same id and other tokens",
    }
    if found.teachers is not None:
        rows |= _teachers(found.teachers)
    rows["together"] = "the same rows and numbers" if found.same else "they differ"
    call.output.result({**asdict(found), "same": found.same}, facts(rows))
    return 0 if found.same else 1


def _teachers(found: "Comparison") -> dict[str, str]:
    left_out = ""
    if found.rows_left_out:
        left_out = f"; {found.rows_left_out:,} rows with other captured positions left out"
    return {
        "compared": f"{found.positions:,} positions of the same rows{left_out}",
        "KL(a ‖ b)": f"{found.kl:.6f} nat or more: over the entries that both keep, and the rest",
        "same first choice": f"{found.top1_agreement:.2%}",
        "realised tokens": f"log-probabilities {found.mean_logprob_difference:.5f} nat apart; "
        f"perplexity {found.perplexity_a:.3f} (a), {found.perplexity_b:.3f} (b)",
    }


SPEC = Spec(
    name="dataset diff",
    help="Compares two dumps: settings, rows by id, and, where rows are the same, what their "
    "teachers say: KL divergence, first choices, perplexity. Exit code 1 when something differs.",
    examples=(
        "potstill dataset diff dump other",
        "potstill dataset diff dump s3://bucket/dump --json",
    ),
    model=DiffSettings,
    panels={},
    positional="dumps",
    run=run,
)
