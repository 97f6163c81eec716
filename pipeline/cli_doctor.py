"""`potstill doctor`: what this machine has, and what to do about what it lacks."""

from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.command import Call, Spec

_MARKS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "bad": ("✗", "red")}


class DoctorSettings(BaseModel):
    """Where dumps are to be written."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    folder: str = Field(".", min_length=1, description="Where dumps are to be written.")


def run(call: Call) -> int:
    """Shows every check; exit code 1 when one is bad."""
    from rich.table import Table
    from rich.text import Text

    from pipeline.doctor import examine

    checks = list(examine(Path(call.settings.folder)))
    table = Table.grid(padding=(0, 2))
    for check in checks:
        mark, style = _MARKS[check.state]
        found = Text(check.found)
        if check.cure:
            found.append(f"\n→ {check.cure}", style=style)
        table.add_row(Text(mark, style=style), Text(check.name, style="bold"), found)
    healthy = all(check.state != "bad" for check in checks)
    call.output.result({"checks": [asdict(c) for c in checks], "ok": healthy}, table)
    return 0 if healthy else 1


SPEC = Spec(
    name="doctor",
    help="Shows what this machine has: versions against tested ones, GPU, vLLM, disk, and what the "
    "file system guarantees. Exit code 1 when something will not work.",
    examples=("potstill doctor", "potstill doctor /mnt/dumps --json"),
    model=DoctorSettings,
    panels={},
    positional="folder",
    run=run,
)
