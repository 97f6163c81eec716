"""`potstill dataset pull`: a dump's copy elsewhere."""

import click

from pipeline.command import Call, Spec
from pipeline.dataset_settings import PullSettings


def run(call: Call) -> int:
    """Copies what is missing."""
    from pipeline.dataset_pull import pull
    from pipeline.dataset_view import show_moved

    moved = pull(call.settings, call.output.report, call.switches["dry_run"])
    return show_moved(call, moved)


SPEC = Spec(
    name="dataset pull",
    help="Copies a dump to this machine: only the files that are missing here or were altered, "
    "each hashed while it comes. Run again, it goes on.",
    examples=(
        "potstill dataset pull s3://bucket/dump --out dump",
        "potstill dataset pull hf://datasets/org/dump --out dump --dry-run",
    ),
    model=PullSettings,
    panels={"What and where to": ("out", "expect")},
    positional="dump",
    switches=(
        click.Option(["--dry-run"], is_flag=True, help="Say what would be copied; copy nothing."),
    ),
    run=run,
    long=True,
)
