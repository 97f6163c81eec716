"""Rationale and answer as two tasks: a part of the settings of `train`. No torch."""

from typing import Self

from pydantic import BaseModel, Field, model_validator

from schemas.errors import ConfigError
from stage2_student.kind_weights import kind_weights

TASKS = ("rationale", "answer")
"""A task is named after the kind of segment that it ends in."""

_EXAMPLE = "Give for example --tasks rationale=0.5,answer=1."


class TaskSettings(BaseModel):
    """Whether rows are read whole, or as one sequence per task."""

    tasks: list[str] = Field(
        [],
        description="Two tasks instead of one text, and what they weigh, such as "
        "rationale=0.5,answer=1: prompt and rationale, prompt and answer. A task that is not named "
        "is left out. Default: rows as the teacher saw them; for `evaluate`, as the student's own "
        "training read them.",
    )
    task_prefixes: list[str] = Field(
        [],
        description="Text before the prompt that tells the student which task it is, such as "
        "'answer=Answer: '; repeat the option for the other task. Default: none.",
        json_schema_extra={"verbatim": True},
    )

    @model_validator(mode="after")
    def _tasks_with_weights(self) -> Self:
        weights = kind_weights(self.tasks, "tasks")
        odd = next((name for name in weights if name not in TASKS), None)
        if odd is not None:
            raise ConfigError(f"tasks: {odd!r} is none of {' and '.join(TASKS)}. {_EXAMPLE}")
        if weights and not any(weights.values()):
            raise ConfigError(f"tasks: all weights are 0, so nothing would be learned. {_EXAMPLE}")
        prefixes = task_prefixes(self.task_prefixes)
        unused = next((name for name in prefixes if not weights.get(name)), None)
        if unused is not None:
            raise ConfigError(
                f"task_prefixes has one for {unused}, which is no task here. {_EXAMPLE}"
            )
        return self


def task_prefixes(written: list[str]) -> dict[str, str]:
    """The prefixes by task; blanks in them count.

    Raises:
        ConfigError: one is no `task=text`, or of a task again.
    """
    found: dict[str, str] = {}
    for entry in written:
        name, equals, text = entry.partition("=")
        if name not in TASKS or not equals or not text or name in found:
            raise ConfigError(
                f"task_prefixes: {entry!r} is no prefix of one task, or its second one. Give for "
                "example --task-prefixes 'rationale=Explain: ' --task-prefixes 'answer=Answer: '."
            )
        found[name] = text
    return found
