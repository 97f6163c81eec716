"""What keeping every unit safe costs: commits, joining a long dump, requests, several workers.

`commit`: one unit's commit on a local disk, its shard's fsync included. `resume`: seconds from
joining a dump with 10,000 finished units to the first missing one, and to manifest.json.
`requests`: HTTP requests of a further unit to an S3 server of this machine, beyond the upload of
its shard. `ledger`: a million lines, opened in a process of its own. `workers`: a real teacher and
one worker or two, each on a core of its own. Run as

    python -m benchmarks.commit --teacher FOLDER --corpus FILE
    python -m benchmarks.commit --only commit,resume       # the other parts stay as they were
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

from benchmarks.commit_disk import commits, resume
from benchmarks.commit_ledger import ledger
from benchmarks.commit_requests import requests
from benchmarks.commit_workers import Corpus, workers
from benchmarks.machine import machine, read_result, write_result

AIMS = {
    "commit_ms": 15.0,
    "resume_seconds": 5.0,
    "requests_per_unit": 3.0,
    "two_workers": 1.7,
    "ledger_seconds": 1.0,
    "ledger_mib": 300.0,
}


def main() -> None:
    """Measures, prints a line each, and writes results/commit.json."""
    parser = _parser()
    options = parser.parse_args()
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "commit": lambda: commits(options.units),
        "resume": lambda: resume(options.finished),
        "requests": requests,
        "ledger": lambda: ledger(options.lines),
        "workers": lambda: workers(_corpus(options), options.rounds),
    }
    chosen = options.only.split(",") if options.only else list(parts)
    if not set(chosen) <= parts.keys():
        parser.error(f"--only takes {', '.join(parts)}; found {options.only}")
    if "workers" in chosen and not (options.teacher and options.corpus):
        parser.error("workers need --teacher and --corpus; --only names the other parts")
    earlier = read_result("commit")
    results = {name: earlier[name] for name in parts if name in earlier and _fits(earlier)}
    for name in chosen:
        results[name] = parts[name]()
        print(f"{name}: " + json.dumps(results[name]), flush=True)
    print("written:", write_result("commit", {"aims": AIMS, **results}))


def _fits(earlier: dict[str, Any]) -> bool:
    """Whether earlier figures were measured on this machine with these versions."""
    return bool(earlier["machine"] == machine())


def _corpus(options: argparse.Namespace) -> Corpus:
    return Corpus(
        teacher=options.teacher,
        corpus=options.corpus,
        prompt=options.prompt_column,
        response=options.response_column,
        rows=options.rows,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="parts, with commas: commit,resume,requests,ledger,workers")
    parser.add_argument("--teacher", help="a model folder, for the workers")
    parser.add_argument("--corpus", help="a file, for the workers")
    parser.add_argument("--prompt-column", help="as of potstill dump")
    parser.add_argument("--response-column", help="as of potstill dump")
    parser.add_argument("--rows", type=int, default=120, help="rows that the workers dump")
    parser.add_argument("--rounds", type=int, default=2, help="so often, one and two in turns")
    parser.add_argument("--units", type=int, default=1000, help="commits")
    parser.add_argument("--finished", type=int, default=10_000, help="units finished before")
    parser.add_argument("--lines", type=int, default=1_000_000, help="of the ledger")
    return parser


if __name__ == "__main__":
    main()
