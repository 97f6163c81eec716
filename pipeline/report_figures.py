"""Every figure of a report by name: what report.json holds and `report --assert` compares."""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.configuration import nearest
from pipeline.report_data import MAKERS, ReportData
from schemas.errors import ConfigError, InputError
from stage2_student.evaluation import Evaluation

_CONDITION = re.compile(
    r"^\s*(?P<name>[\w./ -]+?)\s*(?P<sign><=|>=|==|<|>)"
    r"\s*(?P<number>[-+.\deE]+)\s*(?P<percent>%?)\s*$"
)
_WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
_HOLDS = {
    "<": lambda found, bound: found < bound,
    "<=": lambda found, bound: found <= bound,
    ">": lambda found, bound: found > bound,
    ">=": lambda found, bound: found >= bound,
    "==": lambda found, bound: found == bound,
}


def figures(data: ReportData) -> dict[str, float]:
    """All figures; those of a slice are named `<slice>.<metric>`, those not measured left out."""
    found: dict[str, float | None] = {}
    if data.evaluation:
        found |= _of_evaluation(data.evaluation)
    if data.dumps:
        found |= _of_teacher(data.dumps[0].teacher)
        found["dump_bytes"] = sum(dump.bytes or 0 for dump in data.dumps) or None
        found["dump_tokens"] = sum(dump.tokens or 0 for dump in data.dumps) or None
    if data.steps:
        last = data.steps[-1]
        found |= {
            "steps": last.step,
            "training_tokens": last.tokens,
            "training_seconds": last.seconds,
            "final_loss": last.loss,
        }
    if found.get("teacher_parameters") and found.get("student_parameters"):
        found["size_ratio"] = (found["student_parameters"] or 0) / (
            found["teacher_parameters"] or 1
        )
    return {name: float(value) for name, value in found.items() if value is not None}


def _of_teacher(teacher: Mapping[str, Any]) -> dict[str, float | None]:
    """Its parameters, and the bytes that they take at the dtype in which it ran."""
    parameters, width = teacher.get("parameters"), _WIDTHS.get(str(teacher.get("dtype")))
    size = parameters * width if parameters and width else None
    return {"teacher_parameters": parameters, "teacher_bytes": size}


def _of_evaluation(evaluation: Evaluation) -> dict[str, float | None]:
    speed = evaluation.speed
    found: dict[str, float | None] = {
        **evaluation.overall.model_dump(),
        "student_parameters": evaluation.student.parameters,
        "student_bytes": evaluation.student.bytes,
        "tokens_per_second": speed.tokens_per_second,
        "generated_per_second": speed.generated_per_second,
        "memory_bytes": speed.memory_bytes,
        **_of_teacher(evaluation.teacher.model_dump()),
    }
    for name, metrics in evaluation.slices.items():
        found |= {f"{name}.{metric}": value for metric, value in metrics.model_dump().items()}
    return found


def failures(found: Mapping[str, float], conditions: list[str]) -> list[str]:
    """The conditions that do not hold, each with what was found.

    Args:
        found: figures by name.
        conditions: such as "kl<0.15", "agreement >= 70%", "code.kl < 0.3".

    Raises:
        ConfigError: a condition is none, or names a figure that does not exist.
    """
    return [text for condition in conditions if (text := _failure(found, condition))]


def _failure(found: Mapping[str, float], condition: str) -> str:
    match = _CONDITION.match(condition)
    bound = _number(match["number"]) if match else None
    if match is None or bound is None:
        raise ConfigError(
            f"--assert takes a figure, a comparison and a number; found {condition!r}. "
            "Give for example --assert 'kl<0.15'."
        )
    name = match["name"]
    if name not in found:
        raise _unknown(name, found)
    bound = bound / 100 if match["percent"] else bound
    holds = _HOLDS[match["sign"]](found[name], bound)
    return "" if holds else f"{condition.strip()} does not hold: {name} is {found[name]:g}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _unknown(name: str, found: Mapping[str, float]) -> InputError:
    if "kl" not in found:
        return InputError(
            f"{name!r} cannot be asserted: nothing was evaluated yet. Run "
            f"`{MAKERS['evaluation.json']}` first."
        )
    near = nearest(name, found) or f" There are: {', '.join(found)}."
    return ConfigError(f"--assert: there is no figure {name!r}.{near}")
