"""`potstill dataset subset`: some rows of a dump."""

from pipeline.command import Call, Spec
from pipeline.dataset_settings import SubsetSettings


def run(call: Call) -> int:
    """Makes the new dump."""
    from pipeline.dataset_subset import subset
    from pipeline.dataset_view import show

    return show(call, subset(call.settings, call.output.report))


SPEC = Spec(
    name="dataset subset",
    help="Takes the rows of a dump that pass every filter given. What is chosen is read first, so "
    "that a subset of nothing writes nothing.",
    examples=(
        "potstill dataset subset dump --share 0.1 --out tenth",
        "potstill dataset subset dump --sources 'web/*' --verdicts correct --out good",
        "potstill dataset subset dump --ids ids.txt --out chosen",
    ),
    model=SubsetSettings,
    panels={
        "Which rows": (
            "sources",
            "ids",
            "with_segments",
            "verdicts",
            "min_tokens",
            "max_tokens",
            "share",
        ),
        "The new dump": ("out", "shard_size", "hidden"),
    },
    positional="dump",
    run=run,
    long=True,
)
