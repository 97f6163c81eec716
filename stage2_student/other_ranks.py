"""When one of several processes fails, the others say why before they stop.

A process that fails leaves its reason in the run folder, which all of them see, before its
connections close; the others find them closed in the middle of a step, look for it and repeat it.
One that was killed leaves none.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import InputError, PotstillError, TemporaryError
from stage2_student.parallelism import place

_CLOSED = re.compile(r"gloo|nccl|closed by peer|connection (closed|reset)|broken pipe", re.I)
"""What the backends say when another process is gone."""


@contextmanager
def shared_reasons(out: Path) -> Iterator[None]:
    """Inside, a failure is told to the other processes, and theirs is repeated here.

    Raises:
        InputError: another process failed of something that the user can mend; repeats it.
        TemporaryError: another process is gone and left no reason.
    """
    rank, processes = place()
    if processes == 1:
        yield
        return
    try:
        yield
    except PotstillError as error:
        _leave(out, rank, str(error), error.exit_code)
        raise
    except RuntimeError as error:
        if not _CLOSED.search(str(error)):
            _leave(out, rank, f"{type(error).__name__}: {error}", 1)
            raise
        raise _of_another(out, rank, processes, error) from error


def clear_reasons(out: Path) -> None:
    """Removes what an earlier run left; the first process does this before it trains."""
    for path in out.glob(_name("*")):
        path.unlink()


def _leave(out: Path, rank: int, reason: str, exit_code: int) -> None:
    with suppress(OSError):  # the process stops in any case, and prints its reason itself
        text = json.dumps({"reason": reason, "exit_code": exit_code})
        (out / _name(str(rank))).write_text(text, "utf-8")


def _of_another(out: Path, rank: int, processes: int, error: RuntimeError) -> PotstillError:
    for other in range(processes):
        path = out / _name(str(other))
        if other != rank and path.is_file():
            found = json.loads(path.read_text("utf-8"))
            text = (
                f"process {other} of {processes} stopped, and this one with it: {found['reason']}"
            )
            return TemporaryError(text) if found["exit_code"] == 5 else InputError(text)
    return TemporaryError(
        f"another of the {processes} processes is gone without a word ({_short(error)}): it was "
        "killed, perhaps for want of memory, or its machine is gone. Look at its output, then run "
        "the same command with --resume: the checkpoints are kept."
    )


def _name(rank: str) -> str:
    return f".failed-{rank}.json"


def _short(error: RuntimeError) -> str:
    return str(error).splitlines()[0][-80:]
