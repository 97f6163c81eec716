"""`potstill report`: one self-contained page about a student, and a gate on its figures."""

from dataclasses import asdict
from pathlib import Path

import click
from pydantic import BaseModel, ConfigDict, Field

from pipeline.command import Call, Spec


class ReportSettings(BaseModel):
    """Which student."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    out: str = Field(min_length=1, description="The student's folder: the --out of train.")


def run(call: Call) -> int:
    """Writes the page; exit code 1 when an --assert does not hold."""
    from rich.text import Text

    from pipeline.facts import facts
    from pipeline.report import write_report
    from pipeline.report_figures import failures

    written = write_report(Path(call.settings.out))
    failed = failures(written.figures, list(call.switches["assert_"]))
    rows = {"page": written.page, "figures": written.json}
    if written.missing:
        rows["left out"] = f"what is in {', '.join(written.missing)}: not there"
    lines = [Text(f"✗ {text}", style="red") for text in failed]
    call.output.result({**asdict(written), "failed": failed, "ok": not failed}, facts(rows), *lines)
    if "evaluation.json" in written.missing:
        measure = f"potstill evaluate {call.settings.out} --dump DUMP"
        call.output.next({"measure the student, then report again": measure})
    return 1 if failed else 0


SPEC = Spec(
    name="report",
    help="Writes one self-contained HTML page about a student, and report.json with every figure "
    "of it, from the files in its folder. With --assert it is a gate.",
    examples=(
        "potstill report student",
        "potstill report student --assert 'kl<0.15' --assert 'agreement>=70%'",
    ),
    model=ReportSettings,
    panels={},
    positional="out",
    run=run,
    switches=(
        click.Option(
            ["--assert", "assert_"],
            multiple=True,
            metavar="CONDITION",
            help="Exit with 1 unless this holds, such as 'kl<0.15' or 'code.kl<0.3'; may be "
            "repeated. report.json has the names of all figures.",
        ),
    ),
)
