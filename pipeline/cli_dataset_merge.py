"""`potstill dataset merge`: one dump of several."""

from pipeline.command import Call, Spec
from pipeline.dataset_settings import MergeSettings


def run(call: Call) -> int:
    """Makes the new dump."""
    from pipeline.dataset_merge import merge
    from pipeline.dataset_view import show

    return show(call, merge(call.settings, call.output.report))


SPEC = Spec(
    name="dataset merge",
    help="Makes one dump of several, each sample once: an id that a later dump has again is left "
    "out. Every row says in `origin` which dump it was made in; licences are combined. Teacher, "
    "tokenizer and capture policy must be the same.",
    examples=(
        "potstill dataset merge monday tuesday --out week",
        "potstill dataset merge 'nights/*' --out s --no-hidden --shard-size 512",
    ),
    model=MergeSettings,
    panels={"The new dump": ("out", "shard_size", "hidden", "first_wins")},
    positional="dumps",
    run=run,
    long=True,
)
