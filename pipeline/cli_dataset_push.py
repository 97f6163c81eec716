"""`potstill dataset push`: a dump's copy elsewhere."""

import click

from pipeline.command import Call, Spec
from pipeline.dataset_settings import PushSettings


def run(call: Call) -> int:
    """Copies what is missing."""
    from pipeline.dataset_push import push
    from pipeline.dataset_view import show_moved

    moved = push(call.settings, call.output.report, call.switches["dry_run"])
    return show_moved(call, moved)


SPEC = Spec(
    name="dataset push",
    help="Copies a dump to a store or to the Hub: only the files that are missing there, "
    "manifest.json last, so that nobody sees half a dump as a whole one. Run again, it goes on. A "
    "place that holds something else is left alone.",
    examples=(
        "potstill dataset push dump --to s3://bucket/dump",
        "potstill dataset push dump --to hf://datasets/org/dump --dry-run",
    ),
    model=PushSettings,
    panels={"Where to": ("to", "private")},
    positional="dump",
    switches=(
        click.Option(["--dry-run"], is_flag=True, help="Say what would be copied; copy nothing."),
    ),
    run=run,
    long=True,
)
