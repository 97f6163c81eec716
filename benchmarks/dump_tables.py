"""The tables of docs/ about dumps: what policies weigh, what a floor costs, beside DistillKit.

    python -m benchmarks.dump_tables

writes them from results/; a test holds the pages to those files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import read_result

END = "<!-- end of figures -->"
_DOCS = Path(__file__).parent.parent / "docs"
_FLOORS = ("default", "default, floor 1e-4", "default, floor 1e-3", "default, no sample")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Where a table stands, between `begin` and END, and what makes it of which result."""

    page: Path
    result: str
    make: Callable[[dict[str, Any]], str]

    @property
    def begin(self) -> str:
        """The comment before it."""
        return f"<!-- figures: benchmarks.{self.result} -->"

    @property
    def text(self) -> str:
        """The table with its comments."""
        return f"{self.begin}\n{self.make(read_result(self.result))}\n{END}"


def policies(result: dict[str, Any]) -> str:
    """Bytes per token on both corpora, plain and compact, and the codec's KL."""
    mixed, gsm8k = (result["corpora"][name]["policies"] for name in ("mixed English", "GSM8K"))
    heads = ("policy", "kept + drawn", "mixed English", "compact", "GSM8K", "compact", "codec KL")
    rows = [
        (
            name.replace(">=", " ≥ "),
            f"{own['kept_per_position']:.1f} + {own['drawn_per_position']:.1f}",
            f"{own['bytes_per_token']:.1f}",
            f"{own['compact_bytes_per_token']:.1f} (−{own['compact_saves']:.1%})",
            f"{gsm8k[name]['bytes_per_token']:.1f}",
            f"{gsm8k[name]['compact_bytes_per_token']:.1f} (−{gsm8k[name]['compact_saves']:.1%})",
            f"{own['kl_mean']:.1e}, at most {own['kl_max']:.1e}",
        )
        for name, own in mixed.items()
    ]
    return _markdown(heads, rows)


def floors(result: dict[str, Any]) -> str:
    """What the tail sample and the gradient lose by a floor."""
    own = {row["name"]: row for row in result["policies"]}
    own["default"] = own.get("default", own["this dump"])
    heads = ("policy", "bytes/token", "draws", "gradient error", "of the mean gradient")
    rows = [
        (
            name,
            f"{own[name]['bytes_per_token']:.1f}",
            f"{own[name]['drawn']:.2f}",
            f"{own[name]['gradient_error']:.3f}",
            f"{own[name]['mean_gradient_error']:.4f}",
        )
        for name in _FLOORS
    ]
    return _markdown(heads, rows)


def peers(result: dict[str, Any]) -> str:
    """Both programs at the same k, and how many times as fast ours is."""
    heads = ("", "bytes/token", "codec KL", "written, ktok/s", "read, ktok/s")
    rows = [
        (
            name,
            f"{own['bytes_per_token']:.0f}",
            f"{own['kl_mean']:.1e}, at most {own['kl_max']:.1e}",
            f"{own['written_ktokens_per_second']:.0f}",
            f"{own['read_ktokens_per_second']:.0f}",
        )
        for name, own in result["figures"].items()
    ]
    rows += [
        (
            f"ours over theirs, {name}",
            f"{own['bytes, ours over theirs']:.2f}",
            "",
            f"{own['written, times as fast']:.1f} ×",
            f"{own['read, times as fast']:.1f} ×",
        )
        for name, own in result["ratios"].items()
    ]
    return _markdown(heads, rows)


TABLES = (
    Table(page=_DOCS / "dump-operators.md", result="storage", make=policies),
    Table(page=_DOCS / "dump-operators.md", result="policies", make=floors),
    Table(page=_DOCS / "dataset-teams.md", result="codec", make=peers),
)


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Puts the tables into their pages."""
    for table in TABLES:
        text = table.page.read_text()
        before, _, rest = text.partition(table.begin)
        table.page.write_text(before + table.text + rest.partition(END)[2])


if __name__ == "__main__":
    main()
