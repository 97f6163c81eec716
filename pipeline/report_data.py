"""What a report is made of: the files that a student's folder holds anyway, read and checked.

run.yaml, train_log.jsonl and dump.json come from training, evaluation.json from evaluating. Each
may be missing: the page then says which command writes it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import InputError
from stage2_student.evaluation import Evaluation

RUN, LOG, DUMPS, EVALUATION = "run.yaml", "train_log.jsonl", "dump.json", "evaluation.json"
MAKERS = {
    RUN: "potstill train",
    LOG: "potstill train",
    DUMPS: "potstill train",
    EVALUATION: "potstill evaluate",
}
"""The files and the command that writes each."""


class Read(BaseModel):
    """Something read from a file of the student's folder."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Step(Read):
    """One logged step of training; further numbers are the terms of the loss, and held-out ones."""

    model_config = ConfigDict(extra="allow", frozen=True)

    step: int
    loss: float
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens: int | None = None
    seconds: float | None = None
    tokens_per_second: float | None = None
    wait_share: float | None = None
    fill: float | None = None
    epoch: float | None = None

    @property
    def terms(self) -> dict[str, float]:
        """The loss's terms (fkl, ce, …), each a plain mean in nats; held-out ones, too."""
        found = self.model_extra or {}
        return {name: float(v) for name, v in found.items() if isinstance(v, int | float)}


class Dump(Read):
    """One dump that the student was trained from."""

    identity: str
    teacher: dict[str, Any]
    corpus: dict[str, Any] = {}
    tokenizer: dict[str, Any] = {}
    bytes: int | None = None
    tokens: int | None = None


class ReportData(Read):
    """Everything of one student."""

    folder: str
    run: dict[str, Any] = {}
    steps: list[Step] = []
    dumps: list[Dump] = []
    evaluation: Evaluation | None = None
    missing: list[str] = []


Shape = TypeVar("Shape", bound=BaseModel)


def read_report_data(folder: Path) -> ReportData:
    """Reads a student's folder.

    Raises:
        InputError: there is no such folder, nothing in it to report on, or a file is damaged.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}. Give the --out of a `potstill train`.")
    missing = [name for name in MAKERS if not (folder / name).is_file()]
    if len(missing) == len(MAKERS):
        raise InputError(
            f"{folder} holds none of {', '.join(MAKERS)}: it is no student's folder. Give the "
            "--out of a `potstill train`."
        )
    evaluation = _json(folder / EVALUATION)
    return ReportData(
        folder=folder.resolve().name,
        run=_run(folder / RUN),
        steps=list(_steps(folder / LOG)),
        dumps=[_parse(Dump, dump, folder / DUMPS) for dump in _json(folder / DUMPS) or []],
        evaluation=evaluation and _parse(Evaluation, evaluation, folder / EVALUATION),
        missing=missing,
    )


def _run(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(_text(path) or "{}")
    except yaml.YAMLError as error:
        raise _damaged(path, str(error)) from error
    return found if isinstance(found, dict) else {}


def _steps(path: Path) -> Iterator[Step]:
    """The logged steps, ascending; of a step logged twice (resumed) the later line counts."""
    found: dict[int, Step] = {}
    for number, line in enumerate((_text(path) or "").splitlines(), 1):
        step = _parse(Step, _loads(line, path, number), path)
        found[step.step] = step
    yield from (found[step] for step in sorted(found))


def _json(path: Path) -> Any:
    text = _text(path)
    return None if text is None else _loads(text, path, 1)


def _loads(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise _damaged(path, f"line {line}: {error}") from error


def _parse(shape: type[Shape], value: Any, path: Path) -> Shape:
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise _damaged(path, f"{where}: {problem['msg']}") from error


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, problem: str) -> InputError:
    maker = MAKERS[path.name]
    return InputError(f"{path} cannot be read: {problem}. Remove it, then run `{maker}` again.")
