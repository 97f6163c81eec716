"""`potstill report`: one self-contained page about a student, and the same figures as JSON.

Nothing else uses this module or its files: deleting the page and this module breaks nothing.
"""

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.plain_text import visible, visible_lines
from pipeline.program import program_version
from pipeline.report_data import MAKERS, ReportData, read_report_data
from pipeline.report_figures import figures
from pipeline.report_words import FILTERS, headline
from schemas.storage import explain

PAGE, FIGURES = "report.html", "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary:
    """What was written, and every figure by name."""

    page: str
    json: str
    figures: dict[str, float]
    missing: list[str]


def write_report(folder: Path) -> ReportSummary:
    """Writes report.html and report.json into a student's folder.

    Raises:
        InputError: the folder is no student's, a file in it is damaged, or it cannot be written.
    """
    data = read_report_data(folder)
    found = figures(data)
    summary = ReportSummary(
        page=str(folder / PAGE),
        json=str(folder / FIGURES),
        figures=found,
        missing=data.missing,
    )
    _write(folder / PAGE, page(data))
    content = {"potstill": program_version(), "figures": found, **data.model_dump(mode="json")}
    _write(folder / FIGURES, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return summary


def page(data: ReportData) -> str:
    """The whole page as HTML; it loads nothing and runs only the two scripts inside it."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {**FILTERS, "visible": visible, "lines": visible_lines}
    charts = _charts(data)
    scripts = [_bundle(), _source("report.js")] if charts else []
    return environment.from_string(_source("report.html.j2")).render(
        d=data,
        f=figures(data),
        headline=headline(data),
        charts=charts,
        makers=MAKERS,
        scripts=scripts,
        hashes=" ".join(_csp_hash(script) for script in scripts),
        style=_source("report.css"),
        version=program_version(),
    )


def _charts(data: ReportData) -> dict[str, dict[str, Any]]:
    """The charts for which there are data, by the id of their place on the page."""
    from pipeline import report_charts

    charts = {}
    if len(data.steps) > 1:
        charts["loss"] = report_charts.loss_chart(data.steps)
        if any(step.learning_rate is not None for step in data.steps):
            charts["rate"] = report_charts.rate_chart(data.steps)
    if data.evaluation and data.evaluation.slices:
        charts["slices"] = report_charts.slice_chart(data.evaluation.slices)
    if data.evaluation and data.evaluation.calibration:
        evaluation = data.evaluation
        charts["calibration"] = report_charts.calibration_chart(
            evaluation.calibration, evaluation.teacher_calibration
        )
    return charts


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle


def _csp_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _source(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, "utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise explain(error, path) from error
