"""The table of docs/student-trainers.md: loss × policy → KL, agreement, cross-entropy, bytes.

    python -m benchmarks.quality_table

writes it from results/quality.json; a test holds the page to that file.
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.machine import read_result

PAGE = Path(__file__).parent.parent / "docs" / "student-trainers.md"
BEGIN, END = "<!-- figures: benchmarks.quality -->", "<!-- end of figures -->"
HEAD = (
    "| student | loss | dump keeps | KL | top-1 agreement | cross-entropy | bytes/token | seeds |\n"
    "|---|---|---|---|---|---|---|---|"
)
LOSSES = {
    "cross-entropy": "`ce`",
    "online": "exact `fkl`, the teacher beside",
    "default": "`fkl`",
    "bucket": "`fkl(tail=bucket)`",
    "renormalise": "`fkl(tail=renormalise)`",
}
POLICIES = {
    "default": "p ≥ 1/512 and a tail sample",
    "tempered": "p ≥ 1/512 and a tail sample, at temperatures 1 and 2",
    "narrow": "p ≥ 1/64 and a tail sample",
    "top8": "the 8 largest",
    "top64": "the 64 largest",
}

Figures = dict[str, float]


def table(result: dict[str, Any]) -> str:
    """The arms of each student, best first; figures are means over seeds, ± half their range."""
    arms: dict[tuple[str, str], list[Figures]] = {}
    for key, figures in result["arms"].items():
        student, arm, _ = key.split("/")
        arms.setdefault((student, arm), []).append(figures)
    by_student = sorted(arms.items(), key=lambda item: (item[0][0], _mean(item[1], "kl")))
    return "\n".join([HEAD, *_rows(by_student, result["bytes_per_token"])])


def _rows(
    arms: list[tuple[tuple[str, str], list[Figures]]], sizes: dict[str, float]
) -> Iterator[str]:
    for (student, arm), runs in arms:
        loss, policy = _named(arm)
        size = f"{sizes[policy]:.0f}" if policy in sizes else "–"
        figures = [_spread(runs, name) for name in ("kl", "top1_agreement", "cross_entropy")]
        cells = [student, loss, POLICIES.get(policy, "–"), *figures, size, str(len(runs))]
        yield f"| {' | '.join(cells)} |"


def _named(arm: str) -> tuple[str, str]:
    """The loss as the page calls it, and the policy, if a dump is read."""
    name, _, policy = arm.partition("@")
    without_dump = name == "cross-entropy" or name.startswith("online")
    _, _, share = name.partition("online-")
    loss = f"{LOSSES['online']}, {float(share):.0%} of the steps" if share else LOSSES.get(name)
    return loss or f"`{name}`", "" if without_dump else policy or "default"


def _mean(runs: list[Figures], name: str) -> float:
    return fmean(run[name] for run in runs)


def _spread(runs: list[Figures], name: str) -> str:
    values = [run[name] for run in runs]
    half = (max(values) - min(values)) / 2
    return f"{_mean(runs, name):.3f}" + (f" ± {half:.3f}" if len(runs) > 1 else "")


def main() -> None:
    """Puts the table into the page."""
    text = PAGE.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{table(read_result('quality'))}\n{END}{after}")


if __name__ == "__main__":
    main()
