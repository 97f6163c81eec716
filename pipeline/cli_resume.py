"""`potstill resume`: a paused dump goes on."""

from pipeline.dump_control import control_spec


def _resume(dump: str) -> tuple[str, str]:
    from stage1_teacher.control import withdraw

    if withdraw(dump):
        return "resumed", "Workers that wait go on within a second."
    return "running", "Nothing was asked of this dump's workers: it was neither paused nor stopped."


SPEC = control_spec(
    "resume",
    help="Lets a paused dump go on. After `potstill stop`, or where no worker runs any more, run "
    "the same `potstill dump` again instead: it continues.",
    state=_resume,
    examples=("potstill resume dump",),
)
