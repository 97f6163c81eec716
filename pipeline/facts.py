"""What a command says at its end: facts in two columns. Imports neither stage."""

from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.plain_text import visible
from schemas import layout
from schemas.manifest import GenerationCounts


def facts(rows: dict[str, str]) -> Table:
    """Two columns: what, and its value. Values come from strangers and are made harmless."""
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(Text(name, style="bold"), Text(visible(value)))
    return table


def responses_text(counts: GenerationCounts) -> str:
    """What became of a dump's responses, what was dropped by kind."""
    words = [
        f"{counts.generated:,} written, {counts.kept:,} kept",
        f"{counts.accepted:,} accepted ({counts.acceptance:.0%})",
    ]
    others = ("rejected", "unverifiable", "unparsed", "truncated", "duplicates")
    words += [f"{getattr(counts, name):,} {name}" for name in others if getattr(counts, name)]
    return ", ".join(words)


def set_aside_text(failed: int) -> str:
    """How many samples failed, and where it says why."""
    samples = "1 sample" if failed == 1 else f"{failed:,} samples"
    return f"{samples} failed; why: {layout.SET_ASIDE_FILE}"


def alignment_text(alignment: dict[str, Any]) -> str:
    """The self-test in one line: the mean error at shift 0 and, for contrast, at ±1."""
    if alignment["shift_0"] is None:
        return "no position could be compared"
    others = [alignment[n] for n in ("shift_minus_1", "shift_plus_1") if alignment[n] is not None]
    contrast = f", {min(others):.2f} at a wrong shift" if others else ""
    return (
        f"mean error {alignment['shift_0']:.4f} nat over {alignment['positions']:,} positions"
        f"{contrast}"
    )
