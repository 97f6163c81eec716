"""`potstill inspect`: what is inside a dump."""

from dataclasses import asdict

from pydantic import BaseModel, ConfigDict, Field

from pipeline.command import Call, Spec


class InspectSettings(BaseModel):
    """Which dump, and which sample of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    dump: str = Field(min_length=1, description="The dump: a folder or any fsspec URL.")
    id: str | None = Field(None, description="Show this sample token by token.")
    watch: bool = Field(
        False, description="Of a dump that is being made: show its progress until it is complete."
    )


def run(call: Call) -> int:
    """Shows the summary, one sample, or the progress of a dump under way."""
    if call.settings.watch:
        from pipeline.watching import watch

        watch(call.settings.dump, call.output)
        return 0
    from pipeline.inspection import sample, summary
    from pipeline.inspection_view import sample_view, summary_view
    from schemas.dump_folder import open_dump

    dump = open_dump(call.settings.dump)
    if call.settings.id is not None:
        view = sample(dump, call.settings.id)
        call.output.result(asdict(view), sample_view(view))
        return 0
    found = summary(dump)
    call.output.result(found, summary_view(found))
    if found["first_ids"]:
        line = f"potstill inspect {dump.url} --id {found['first_ids'][0]}"
        call.output.next({"see a sample token by token": line})
    return 0


SPEC = Spec(
    name="inspect",
    help="Shows what is inside a dump: teacher, policy, sizes, licences. With --id one sample "
    "token by token, with the teacher's alternatives and their probabilities. With --watch the "
    "progress of a dump that others make, from any machine that can read its folder.",
    examples=(
        "potstill inspect dump",
        "potstill inspect dump --id ab12-7 --json",
        "potstill inspect dump --watch",
    ),
    model=InspectSettings,
    panels={"What is shown": ("id", "watch")},
    positional="dump",
    run=run,
)
