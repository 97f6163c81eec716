"""The charts of a report as Vega-Lite specifications, made with Altair.

Colours of text, axes and grid are left to the page, which knows whether it is dark.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from pipeline.report_data import Step
from stage2_student.evaluation import Bin, Metrics

TEACHER, STUDENT = "#8b7cf0", "#e0912f"
_PALETTE = [STUDENT, TEACHER, "#3ba99c", "#c65b7c", "#6f93d6", "#8f9a3e"]
_TERMS = {
    "fkl": "forward KL",
    "rkl": "reverse KL",
    "jsd": "Jensen–Shannon",
    "skew_fkl": "skewed forward KL",
    "skew_rkl": "skewed reverse KL",
    "tvd": "total variation",
    "logit_mse": "logit difference²",
    "ce": "cross-entropy",
    "held_out_kl": "forward KL, held out",
    "held_out_ce": "cross-entropy, held out",
}
_HEIGHT = 260
_STEPS = alt.Axis(tickMinStep=1, tickCount=10)
_PERCENT = alt.Axis(format="%", tickCount=5)
_POWERS = "datum.value ? format(datum.value, '~e') : '0'"
_LEGEND = alt.Legend(
    title=None, orient="top", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1
)


def loss_chart(steps: Sequence[Step]) -> dict[str, Any]:
    """The loss and its terms over the steps: thin as logged, thick as a running mean."""
    series = {"loss": [(s.step, s.loss) for s in steps]}
    for term in dict.fromkeys(name for s in steps for name in s.terms):
        points = [(s.step, s.terms[term]) for s in steps if term in s.terms]
        if points != series["loss"]:
            series[_TERMS.get(term, term)] = points
    rows = [row for name, points in series.items() for row in _smoothed(name, points)]
    base = _chart(rows).encode(
        x=alt.X("step:Q", title="step", axis=_STEPS),
        color=alt.Color(
            "part:N",
            scale=alt.Scale(domain=list(series), range=_PALETTE[: len(series)]),
            legend=_LEGEND,
        ),
    )
    raw = base.mark_line(strokeWidth=1, opacity=0.35).encode(y=alt.Y("value:Q", title="nat"))
    mean = base.mark_line(strokeWidth=2.2, interpolate="monotone").encode(
        y=alt.Y("mean:Q", scale=alt.Scale(zero=False)),
        tooltip=["part:N", "step:Q", alt.Tooltip("value:Q", format=".4f")],
    )
    return _spec(raw + mean)


def rate_chart(steps: Sequence[Step]) -> dict[str, Any]:
    """The learning rate over the steps."""
    rows = [{"step": s.step, "rate": s.learning_rate} for s in steps if s.learning_rate is not None]
    chart = (
        _chart(rows)
        .mark_area(line={"color": STUDENT}, color=STUDENT, opacity=0.25)
        .encode(
            x=alt.X("step:Q", title="step", axis=_STEPS),
            y=alt.Y("rate:Q", title="learning rate", axis=alt.Axis(tickCount=4, labelExpr=_POWERS)),
            tooltip=["step:Q", alt.Tooltip("rate:Q", format=".2e")],
        )
    )
    return _spec(chart, height=130)


def slice_chart(slices: dict[str, Metrics]) -> dict[str, Any]:
    """Per slice the cross-entropy of teacher and student, joined by a line."""
    ends = [
        {
            "slice": name,
            "teacher": m.teacher_cross_entropy,
            "student": m.cross_entropy,
            "kl": m.kl,
            "agreement": m.agreement,
        }
        for name, m in slices.items()
    ]
    y = alt.Y("slice:N", title=None, sort=None, axis=alt.Axis(labelLimit=140, ticks=False))
    base = _chart(ends).encode(y=y)
    title = "cross-entropy, nat/token (left is better)"
    line = base.mark_rule(strokeWidth=2, opacity=0.45, color="#999").encode(
        x=alt.X(
            "teacher:Q",
            title=title,
            scale=alt.Scale(zero=False, padding=16),
            axis=alt.Axis(tickCount=8),
        ),
        x2="student:Q",
    )
    points = (
        base.transform_fold(["teacher", "student"], as_=["model", "value"])
        .mark_point(filled=True, size=110, opacity=1)
        .encode(
            x="value:Q",
            color=_models(),
            tooltip=["slice:N", "model:N", alt.Tooltip("value:Q", format=".3f")],
        )
    )
    return _spec(line + points, height=max(90, 46 * len(ends)))


def calibration_chart(student: Sequence[Bin], teacher: Sequence[Bin]) -> dict[str, Any]:
    """How often the most probable token came, against how probable it was said to be."""
    rows = [*_bins("teacher", teacher), *_bins("student", student)]
    diagonal = (
        _chart([{"p": 0.0}, {"p": 1.0}])
        .mark_line(strokeDash=[4, 4], color="#999", strokeWidth=1)
        .encode(x="p:Q", y="p:Q")
    )
    unit = alt.Scale(domain=[0, 1])
    lines = (
        _chart(rows)
        .mark_line(point=alt.OverlayMarkDef(filled=True, size=46), strokeWidth=2)
        .encode(
            x=alt.X("confidence:Q", title="confidence", scale=unit, axis=_PERCENT),
            y=alt.Y("accuracy:Q", title="right", scale=unit, axis=_PERCENT),
            color=_models(),
            tooltip=[
                "model:N",
                alt.Tooltip("confidence:Q", format=".1%"),
                alt.Tooltip("accuracy:Q", format=".1%"),
                alt.Tooltip("count:Q", format=","),
            ],
        )
    )
    return _spec(diagonal + lines, height=300)


def _chart(rows: Iterable[dict[str, Any]]) -> alt.Chart:
    """A chart over rows that stand in the page itself."""
    return alt.Chart(alt.Data(values=list(rows)))  # type: ignore[no-untyped-call]


def _models() -> alt.Color:
    scale = alt.Scale(domain=["teacher", "student"], range=[TEACHER, STUDENT])
    legend = alt.Legend(title=None, orient="top", symbolType="circle")
    return alt.Color("model:N", scale=scale, legend=legend)


def _smoothed(part: str, points: Sequence[tuple[int, float]]) -> Iterable[dict[str, Any]]:
    """A running mean over a twentieth of the run, centred, beside every value."""
    reach = max(1, len(points) // 40)
    for index, (step, value) in enumerate(points):
        near = [v for _, v in points[max(0, index - reach) : index + reach + 1]]
        yield {"part": part, "step": step, "value": value, "mean": sum(near) / len(near)}


def _bins(model: str, bins: Sequence[Bin]) -> Iterable[dict[str, Any]]:
    for b in bins:
        if b.count:
            shown = {"confidence": b.confidence, "accuracy": b.accuracy, "count": b.count}
            yield {"model": model, **shown}


def _spec(chart: Any, height: int = _HEIGHT) -> dict[str, Any]:
    """The specification, as wide as the page lets it be."""
    sized = chart.properties(width="container", height=height)
    spec: dict[str, Any] = sized.to_dict()
    spec.pop("config", None)
    return {
        **spec,
        "background": "transparent",
        "autosize": {"type": "fit-x", "contains": "padding"},
    }
