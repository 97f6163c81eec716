"""`potstill export-gguf`: an ordinary model folder out of a GGUF file."""

import shlex
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.command import Call, Spec


class ExportGgufSettings(BaseModel):
    """Which file, and where to."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    gguf: str = Field(min_length=1, description="The GGUF file of a causal language model.")
    out: str = Field(
        min_length=1,
        description="The model folder; an earlier export of the same file is left as is.",
    )


def run(call: Call) -> int:
    """Exports."""
    from pipeline.facts import facts
    from stage1_teacher.export_gguf import export_gguf

    settings, output = call.settings, call.output
    export_gguf(Path(settings.gguf), Path(settings.out), output.report)
    output.result({"out": settings.out}, facts({"model folder": settings.out}))
    dump = ["potstill", "dump", "--teacher", settings.out, "--corpus", "CORPUS", "--out", "dump"]
    output.next({"dump what it knows": shlex.join(dump)})
    return 0


SPEC = Spec(
    name="export-gguf",
    help="Makes an ordinary model folder, weights in bfloat16, out of a GGUF file of any "
    "quantisation.",
    examples=("potstill export-gguf model.gguf --out model",),
    model=ExportGgufSettings,
    panels={"Where to": ("out",)},
    positional="gguf",
    run=run,
)
