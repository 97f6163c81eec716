"""`potstill pause`: a running dump waits."""

from pipeline.dump_control import SECONDS, control_spec


def _pause(dump: str) -> tuple[str, str]:
    from stage1_teacher.control import ask

    ask(dump, "pause")
    return "paused", (
        f"Every worker waits within {SECONDS} s, its teacher still in memory; workers that join "
        "wait, too."
    )


SPEC = control_spec(
    "pause",
    help="Makes every worker of a running dump wait, on whatever machine it runs, until `potstill "
    "resume`. The teacher stays in memory; `potstill stop` frees the machine.",
    state=_pause,
    examples=("potstill pause dump", "potstill pause s3://bucket/dump"),
)
