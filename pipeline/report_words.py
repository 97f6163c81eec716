"""How a report says its figures: numbers for people, and the sentence at the top."""

from collections.abc import Callable
from typing import Any

from pipeline.live_progress import duration
from pipeline.report_data import ReportData
from pipeline.report_figures import figures

_NOTHING = "—"


def count(value: float | None) -> str:
    """A large number in three digits: 134,515,008 → "135M"."""
    if value is None:
        return _NOTHING
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{_three(value / size)}{suffix}"
    return f"{value:,.0f}"


def size(value: float | None) -> str:
    """Bytes in decimal units: 269 MB."""
    if value is None:
        return _NOTHING
    for step, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= step:
            return f"{_three(value / step)} {unit}"
    return f"{value:.0f} B"


def share(value: float | None) -> str:
    """A fraction as a percentage."""
    return _NOTHING if value is None else f"{value:.1%}".replace("%", " %")


def nats(value: float | None) -> str:
    """A small number with three decimals."""
    return _NOTHING if value is None else f"{value:.3f}"


def perplexity(value: float | None) -> str:
    """A perplexity with as many digits as mean something."""
    return _NOTHING if value is None else _three(value)


def seconds(value: float | None) -> str:
    """A span of time."""
    return _NOTHING if value is None else duration(value)


def _three(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


FILTERS: dict[str, Callable[[Any], str]] = {
    "count": count,
    "size": size,
    "share": share,
    "nats": nats,
    "perplexity": perplexity,
    "seconds": seconds,
}


def headline(data: ReportData) -> str:
    """One sentence that says how good the student became; no figure that was not measured."""
    found = figures(data)
    who = "The student"
    if "student_parameters" in found:
        who = f"A student of {count(found['student_parameters'])} parameters"
    if "size_ratio" in found:
        who += f", {found['size_ratio']:.0%} of its teacher,".replace("%", " %")
    if "agreement" not in found:
        return f"{who} was trained; how good it is has not been measured yet."
    return (
        f"{who} picks the same next token as the teacher at {share(found['agreement'])} of "
        f"{count(found['positions'])} positions that it never saw, with a perplexity of "
        f"{perplexity(found['perplexity'])} where the teacher has "
        f"{perplexity(found['teacher_perplexity'])}."
    )
