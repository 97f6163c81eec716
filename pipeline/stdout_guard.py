"""Keeps stdout for results, whatever libraries print.

vLLM and others write to file descriptor 1 from C++ and from child processes, so it is not enough to
replace `sys.stdout`: the descriptor itself is pointed at stderr while a command runs.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def stdout_for_results() -> Iterator[TextIO]:
    """Gives the real stdout; inside the block everything else that is printed goes to stderr."""
    real = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        if not _is_descriptor_1(real):  # a test or a notebook has replaced it
            yield real
            return
        real.flush()
        saved = os.dup(1)
        os.dup2(2, 1)
        try:
            with os.fdopen(os.dup(saved), "w", encoding="utf-8", errors="replace") as results:
                yield results
        finally:
            os.dup2(saved, 1)
            os.close(saved)


def _is_descriptor_1(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (io.UnsupportedOperation, AttributeError, ValueError):
        return False
