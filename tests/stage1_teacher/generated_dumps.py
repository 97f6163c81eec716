"""Dumps of responses that a script writes."""

from pathlib import Path

from schemas.dump_folder import open_dump
from stage1_teacher.settings import DumpSettings
from tests.tiny import write_rows

ROWS = [{"id": f"r{i}", "prompt": f"What is {i} + 1?", "gold": i + 1} for i in range(8)]


def says(id: str) -> str:
    """Right for even rows, wrong for odd ones; the second sample of a row repeats the first."""
    number = int(id.removeprefix("r").split("/")[0])
    answer = number + 1 if number % 2 == 0 else 99
    return f"<think>Let us count.</think><answer>{answer}</answer>"


def settings(teacher: Path, folder: Path, rows=ROWS, **given) -> DumpSettings:
    corpus = write_rows(folder / "problems.jsonl", rows)
    fixed = {"generate": True, "dtype": "float32", "max_length": 250, "unit_size": 3}
    fixed |= {"license": "unknown"}
    fixed |= {"teacher": str(teacher), "corpus": str(corpus), "out": str(folder / "dump")}
    return DumpSettings(**{**fixed, **given})


def rows_of(folder: Path) -> list[dict]:
    found = open_dump(folder / "dump")
    return [row for s in found.shards for row in found.shard_file(s).read().to_pylist()]


REASONED = {"reasoning_template": "tags", "verifier": "numeric"}
