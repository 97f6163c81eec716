"""`potstill stop`: a running dump's workers end."""

from pipeline.dump_control import SECONDS, control_spec


def _stop(dump: str) -> tuple[str, str]:
    from stage1_teacher.control import ask

    ask(dump, "stop")
    return "stopped", (
        f"Every worker that runs now ends within about {SECONDS} s, with exit code 130; finished "
        "units are kept. Run the same `potstill dump` again and it goes on."
    )


SPEC = control_spec(
    "stop",
    help="Ends every worker of a running dump, on whatever machine it runs. Finished units are "
    "kept; workers that are started later go on with the rest.",
    state=_stop,
    examples=("potstill stop dump",),
)
