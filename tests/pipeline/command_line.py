"""Runs the command line inside the test's process."""

import contextlib
import io
import json
from dataclasses import dataclass
from typing import Any

from pipeline.cli import main


@dataclass
class Ran:
    """What one command line did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """stdout as JSON lines; fails when anything else is there."""
        return [json.loads(line) for line in self.out.splitlines()]


def potstill(*words: object) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Ran(code=code, out=out.getvalue(), err=err.getvalue())
