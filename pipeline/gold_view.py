"""An audit as people see it: a table, a plot on the terminal, and the same plot as a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.facts import facts
from pipeline.gold_audit import FAR, GoldAudit, PolicyFigures
from schemas.errors import ConfigError, InputError

_ENDINGS = (".html", ".svg", ".png")
_WIDTH, _HEIGHT = 64, 12
_MARKS = "abcdefghijklmnopqrstuvwxyz"


def gold_view(found: GoldAudit) -> Iterator[RenderableType]:
    """What `potstill verify DUMP --gold` shows."""
    yield facts(
        {
            "dump": found.url,
            "gold sample": f"{found.sequences:,} sequences, {found.tokens:,} tokens, "
            f"{found.positions:,} positions with full distributions",
            "what is stored": f"KL {found.stored_kl_mean:.2e} nat on average, "
            f"{found.stored_kl_max:.2e} at most; tail mass off by {found.tail_error:.1e}; most "
            f"probable token the same at {found.top1:.2%}",
        }
    )
    yield Text()
    yield _table(found)
    yield Text()
    yield from _plot(found.policies)
    verdict = Text("✓ the dump holds what its teacher said", style="bold green")
    if not found.ok:
        verdict = Text(
            f"✗ the dump is {found.stored_kl_mean:.2g} nat from its gold sample, more than "
            f"{FAR:g}: its rows, or the sample, are not this teacher's. Do not use it.",
            style="bold red",
        )
    yield verdict


def _table(found: GoldAudit) -> Table:
    table = Table(
        *("", "policy", "bytes/token", "kept", "drawn", "codec KL", "at most", "tail error"),
        *("gradient error", "of the mean"),
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for mark, row in zip(_MARKS, found.policies, strict=False):
        table.add_row(
            *(mark, row.name, f"{row.bytes_per_token:.1f}", f"{row.kept:.1f}", f"{row.drawn:.1f}"),
            *(f"{row.kl_mean:.1e}", f"{row.kl_max:.1e}", f"{row.tail_error:.1e}"),
            *(f"{row.gradient_error:.3f}", f"{row.mean_gradient_error:.3f}"),
        )
    return table


def _plot(rows: tuple[PolicyFigures, ...]) -> Iterator[Text]:
    """Error of the mean gradient over bytes per token, both axes logarithmic."""
    import numpy as np

    x = np.log([row.bytes_per_token for row in rows])
    y = np.log([max(row.mean_gradient_error, 1e-4) for row in rows])
    canvas = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    columns, lines = _scaled(x, _WIDTH), _scaled(y, _HEIGHT)
    for mark, column, line in zip(_MARKS, columns, lines, strict=False):
        canvas[_HEIGHT - 1 - line][column] = mark
    yield Text("error of the mean gradient", style="bold")
    ends = {0: f"{np.exp(y.max()):.3f}", _HEIGHT - 1: f"{np.exp(y.min()):.3f}"}
    for index, row in enumerate(canvas):
        yield Text(f"{ends.get(index, ''):>7} │{''.join(row)}")
    yield Text(f"{'':>7} └{'─' * _WIDTH}")
    left, right = f"{np.exp(x.min()):.0f}", f"{np.exp(x.max()):.0f} bytes/token"
    yield Text(f"{'':>9}{left}{right:>{_WIDTH - len(left)}}")


def _scaled(values: Any, cells: int) -> list[int]:
    spread = float(values.max() - values.min()) or 1.0
    return [round((cells - 1) * float(value - values.min()) / spread) for value in values]


def check_plot(path: str) -> None:
    """Checks that a plot can be written there, before anything is measured.

    Raises:
        ConfigError: its ending is not one of those that are drawn.
        InputError: its folder does not exist.
    """
    if not path.endswith(_ENDINGS):
        raise ConfigError(f"plot {path}: its name must end in one of {', '.join(_ENDINGS)}.")
    if not Path(path).absolute().parent.is_dir():
        raise InputError(f"plot {path}: there is no such folder. Make it first.")


def write_plot(found: GoldAudit, path: str) -> None:
    """Writes the quality-against-bytes plot: html (self-contained), svg or png."""
    import altair as alt

    rows = [
        {
            "policy": row.name,
            "bytes": row.bytes_per_token,
            "error": max(row.mean_gradient_error, 1e-4),
            "codec KL": row.kl_mean,
            "gradient error at one position": row.gradient_error,
        }
        for row in found.policies
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("bytes:Q", title="bytes per token", scale=alt.Scale(type="log", nice=False)),
        y=alt.Y("error:Q", title="error of the mean gradient", scale=alt.Scale(type="log")),
        tooltip=["policy:N", "bytes:Q", "error:Q", "codec KL:Q"],
    )
    text = base.mark_text(align="left", dx=8).encode(text="policy:N")
    title = f"{found.positions:,} positions of {Path(found.url).name}"
    chart = (base.mark_point(filled=True, size=80) + text).properties(
        width=640, height=400, title=title
    )
    chart.save(path, **({"inline": True} if path.endswith(".html") else {}))
