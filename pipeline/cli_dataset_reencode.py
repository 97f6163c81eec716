"""`potstill dataset reencode`: a smaller dump."""

from pipeline.command import Call, Spec
from pipeline.dataset_settings import ReencodeSettings


def run(call: Call) -> int:
    """Makes the new dump."""
    from pipeline.dataset_reencode import reencode
    from pipeline.dataset_view import show

    return show(call, reencode(call.settings, call.output.report))


SPEC = Spec(
    name="dataset reencode",
    help="Makes a dump smaller without the teacher: fewer entries per position, a higher "
    "threshold, fewer draws, fewer temperatures. What is no longer kept goes into the tail mass; "
    "what the dump does not hold cannot be had.",
    examples=(
        "potstill dataset reencode dump --top-k 16 --out small",
        "potstill dataset reencode dump --compact --out archive",
        "potstill dataset reencode dump --min-prob 0.0078125 --tail-samples 32 --out small",
    ),
    model=ReencodeSettings,
    panels={
        "What is kept": ("min_prob", "top_k", "tail_samples", "temperatures", "compact"),
        "The new dump": ("out", "shard_size", "hidden"),
    },
    positional="dump",
    run=run,
    long=True,
)
