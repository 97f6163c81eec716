"""`potstill dataset reshard`: other shards."""

from pipeline.command import Call, Spec
from pipeline.dataset_settings import ReshardSettings


def run(call: Call) -> int:
    """Makes the new dump."""
    from pipeline.dataset_reshard import reshard
    from pipeline.dataset_view import show

    return show(call, reshard(call.settings, call.output.report))


SPEC = Spec(
    name="dataset reshard",
    help="Cuts a dump into shards of another size, such as the small ones of many workers into few "
    "large ones. Rows and their order stay.",
    examples=("potstill dataset reshard dump --shard-size 512 --out large",),
    model=ReshardSettings,
    panels={"The new dump": ("out", "shard_size", "hidden")},
    positional="dump",
    run=run,
    long=True,
)
