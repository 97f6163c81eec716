"""How a dump stands faults: runs every campaign of tests/reliability, a process each.

    python -m benchmarks.reliability                     # as for pull requests: minutes
    python -m benchmarks.reliability --tier nightly      # hours
    python -m benchmarks.reliability --tier nightly --only kills,flips

Writes each campaign's result into results/reliability.json and the table of docs/reliability.md as
soon as it has ended, and leaves those of other campaigns as they were; each says of which tier it
is. Exit code 1 when there was any violation, or a campaign tried less than its tier promises.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, read_result, write_result
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
        "tier": tier,
        "scenarios": outcome.scenarios,
        "least": campaign.least[tier],
        "violations": len(outcome.violations),
        "first_violations": outcome.violations[:5],
        "counts": outcome.counts,
        "figures": outcome.figures,
        "seconds": round(time.monotonic() - started, 1),
    }


def run_all(names: list[str], tier: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Campaigns side by side, as many as there are cores; each as soon as it has ended."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), context, max_tasks_per_child=1) as pool:
        running = {pool.submit(run, name, tier): name for name in names}
        for future in as_completed(running):
            yield running[future], future.result()


def table(result: dict[str, Any]) -> str:
    """The result as the page shows it."""
    lines = [
        "| campaign | what is tried | tier | scenarios | violations |",
        "|---|---|---|---|---|",
    ]
    for name, found in result["campaigns"].items():
        detail = "; ".join(f"{kind} {number:,}" for kind, number in found["counts"].items())
        figures = "; ".join(f"{kind}: {number:,}" for kind, number in found["figures"].items())
        note = f"<br>{detail}" + (f"<br>*{figures}*" if figures else "")
        lines.append(
            f"| `{name}` | {found['says']}{note} | {found['tier']} | {found['scenarios']:,} "
            f"| {found['violations']} |"
        )
    total = sum(found["scenarios"] for found in result["campaigns"].values())
    wrong = sum(found["violations"] for found in result["campaigns"].values())
    minutes = sum(found["seconds"] for found in result["campaigns"].values()) / 60
    head = (
        f"On {result['machine']['processor']} with "
        f"{result['machine']['cores']} cores, pyarrow {result['machine']['versions']['pyarrow']}: "
        f"{total:,} scenarios, {wrong} violations; the campaigns took {minutes:.0f} minutes."
    )
    return "\n".join([head, "", *lines])


def main() -> int:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", choices=TIERS, default="pr", help="how much is tried")
    parser.add_argument("--only", help="names of campaigns, with commas")
    asked = parser.parse_args()
    names = asked.only.split(",") if asked.only else list(CAMPAIGNS)
    if not set(names) <= CAMPAIGNS.keys():
        parser.error(f"--only takes {', '.join(CAMPAIGNS)}; found {asked.only}")
    if asked.only and not _same_machine(read_result("reliability")):
        parser.error("the other figures are of another machine or versions: leave --only out")
    wrong = 0
    for name, found in run_all(names, asked.tier):
        _keep(name, found)
        wrong += _told(name, found)
    return 1 if wrong else 0


def _keep(name: str, found: dict[str, Any]) -> None:
    """Puts a campaign's result beside those that are there, in the order of the page."""
    there = read_result("reliability")
    campaigns = {**(there.get("campaigns", {}) if _same_machine(there) else {}), name: found}
    known = {each: campaigns[each] for each in CAMPAIGNS if each in campaigns}
    _show(write_result("reliability", {"campaigns": known}))


def _same_machine(result: dict[str, Any]) -> bool:
    return bool(result.get("machine", machine()) == machine())


def _told(name: str, found: dict[str, Any]) -> bool:
    """Says what a campaign found; whether that is not as it must be."""
    print(
        f"{name}: {found['scenarios']:,} scenarios, {found['violations']} violations, "
        f"{found['seconds']} s",
        flush=True,
    )
    for violation in found["first_violations"]:
        print(f"  {violation}")
    if found["violations"] or found["scenarios"] < found["least"]:
        print(f"{name}: not as it must be", file=sys.stderr)
        return True
    return False


def _show(path: Path) -> None:
    text = PAGE.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    shown = table(json.loads(path.read_text()))
    PAGE.write_text(f"{before}{BEGIN}\n{shown}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
