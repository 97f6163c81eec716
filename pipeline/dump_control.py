"""`potstill pause`, `resume` and `stop`: three words for a dump that runs somewhere."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from pipeline.command import Call, Spec

SECONDS = 5
"""Workers look that often, and at once between units."""


class ControlSettings(BaseModel):
    """Which dump."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    dump: str = Field(
        min_length=1,
        description="The dump that is being made: its folder, from any machine that can write "
        "there, or its URL.",
    )


def control_spec(
    name: str, *, help: str, state: Callable[[str], tuple[str, str]], examples: tuple[str, ...]
) -> Spec:
    """A command that changes what a running dump's workers do.

    Args:
        name: the command.
        help: what it does.
        state: does it, and gives a word for programs and a sentence for people.
        examples: command lines.
    """

    def run(call: Call) -> int:
        dump = call.settings.dump
        word, sentence = state(dump)
        call.output.result({"dump": dump, "state": word}, sentence)
        call.output.next({"watch it": f"potstill inspect {dump} --watch"})
        return 0

    return Spec(
        name=name,
        help=help,
        examples=examples,
        model=ControlSettings,
        panels={},
        positional="dump",
        run=run,
    )
