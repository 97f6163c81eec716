"""How a dump stands faults: runs every campaign of tests/reliability, a process each.

    python -m benchmarks.reliability                     # as for pull requests: minutes
    python -m benchmarks.reliability --tier nightly      # hours
    python -m benchmarks.reliability --only kills,flips

Writes results/reliability.json and the table of docs/reliability.md. Exit code 1 when there was any
violation, or a campaign tried less than its tier promises.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.machine import write_result
from tests.reliability.campaign import TIERS
from tests.reliability.campaigns import CAMPAIGNS

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: scripts/reliability -->", "<!-- end of figures -->"


def run(name: str, tier: Any) -> dict[str, Any]:
    """One campaign: what it tried and found, and what it took."""
    started, campaign = time.monotonic(), CAMPAIGNS[name]
    outcome = campaign.run(tier)
    return {
        "says": campaign.says,
        "scenarios": outcome.scenarios,
        "least": campaign.least[tier],
        "violations": len(outcome.violations),
        "first_violations": outcome.violations[:5],
        "counts": outcome.counts,
        "figures": outcome.figures,
        "seconds": round(time.monotonic() - started, 1),
    }


def run_all(names: list[str], tier: str) -> dict[str, Any]:
    """Campaigns side by side, as many as there are cores; told of each when it ends."""
    context = multiprocessing.get_context("spawn")
    found = {}
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), context, max_tasks_per_child=1) as pool:
        running = {pool.submit(run, name, tier): name for name in names}
        for future in as_completed(running):
            name, result = running[future], future.result()
            found[name] = result
            print(
                f"{name}: {result['scenarios']:,} scenarios, {result['violations']} violations, "
                f"{result['seconds']} s",
                flush=True,
            )
            for violation in result["first_violations"]:
                print(f"  {violation}")
    return {name: found[name] for name in names}


def table(result: dict[str, Any]) -> str:
    """The result as the page shows it."""
    lines = ["| campaign | what is tried | scenarios | violations |", "|---|---|---|---|"]
    for name, found in result["campaigns"].items():
        detail = "; ".join(f"{kind} {number:,}" for kind, number in found["counts"].items())
        figures = "; ".join(f"{kind}: {number:,}" for kind, number in found["figures"].items())
        note = f"<br>{detail}" + (f"<br>*{figures}*" if figures else "")
        lines.append(
            f"| `{name}` | {found['says']}{note} | {found['scenarios']:,} | {found['violations']} |"
        )
    total = sum(found["scenarios"] for found in result["campaigns"].values())
    wrong = sum(found["violations"] for found in result["campaigns"].values())
    minutes = sum(found["seconds"] for found in result["campaigns"].values()) / 60
    head = (
        f"Tier `{result['tier']}`, on {result['machine']['processor']} with "
        f"{result['machine']['cores']} cores, pyarrow {result['machine']['versions']['pyarrow']}: "
        f"{total:,} scenarios, {wrong} violations; the campaigns took {minutes:.0f} minutes."
    )
    return "\n".join([head, "", *lines])


def main() -> int:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", choices=TIERS, default="pr", help="how much is tried")
    parser.add_argument("--only", help="names of campaigns, with commas; writes nothing")
    asked = parser.parse_args()
    names = asked.only.split(",") if asked.only else list(CAMPAIGNS)
    campaigns = run_all(names, asked.tier)
    if not asked.only:
        path = write_result("reliability", {"tier": asked.tier, "campaigns": campaigns})
        _show(path)
    wrong = [n for n, c in campaigns.items() if c["violations"] or c["scenarios"] < c["least"]]
    for name in wrong:
        print(f"{name}: not as it must be", file=sys.stderr)
    return 1 if wrong else 0


def _show(path: Path) -> None:
    text = PAGE.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    shown = table(json.loads(path.read_text()))
    PAGE.write_text(f"{before}{BEGIN}\n{shown}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
