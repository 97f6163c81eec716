"""`potstill inspect`: what is inside a dump."""

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.command import Call, Spec

if TYPE_CHECKING:
    from schemas.dump_folder import DumpFolder


class InspectSettings(BaseModel):
    """Which dump, and which sample of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    dump: str = Field(min_length=1, description="The dump: a folder or any fsspec URL.")
    id: str | None = Field(None, description="Show this sample token by token.")
    for_: str | None = Field(
        None,
        min_length=1,
        description="Also say whether it fits this student (a model folder or a hub name): "
        "tokenizer, vocabulary, context, licences, bytes to stream. Loads no weights.",
    )
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
    if call.settings.for_ is not None:
        return _fit(call, dump, found)
    call.output.result(found, summary_view(found))
    if found["first_ids"]:
        line = f"potstill inspect {dump.url} --id {found['first_ids'][0]}"
        call.output.next({"see a sample token by token": line})
    return 0


def _fit(call: Call, dump: "DumpFolder", found: dict[str, Any]) -> int:
    """Exit code 1 when the dump does not fit."""
    from pipeline.inspection_view import fit_view, summary_view
    from pipeline.student_fit import student_fit

    fit = student_fit(dump, call.settings.for_)
    data = {**found, "for": {**asdict(fit), "ok": fit.ok}}
    call.output.result(data, summary_view(found), *fit_view(fit))
    if not fit.ok:
        return 1
    words = ["potstill", "train", "--dump", dump.url, "--student", fit.student, "--out", "student"]
    call.output.next({"train it": shlex.join(words)})
    return 0


SPEC = Spec(
    name="inspect",
    help="Shows what is inside a dump: teacher, policy, sizes, licences. With --id one sample "
    "token by token, with the teacher's alternatives and their probabilities. With --watch the "
    "progress of a dump that others make, from any machine that can read its folder.",
    examples=(
        "potstill inspect dump",
        "potstill inspect dump --id ab12-7 --json",
        "potstill inspect s3://bucket/dump --for org/small-model",
        "potstill inspect dump --watch",
    ),
    model=InspectSettings,
    panels={"What is shown": ("id", "for_", "watch")},
    positional="dump",
    run=run,
)
