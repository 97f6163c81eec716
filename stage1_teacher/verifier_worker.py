"""The process in which a verifier of unknown manners runs; verifier_processes.py starts it.

Lines of JSON come on stdin and go to what stdout was; what the verifier prints goes to stderr. The
first line says `{"ready": true}` or `{"error": …}`; then each `{"answer": …, "gold": …}` gives
`{"correct": …, "compared": …}`.
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import IO, Any

from stage1_teacher.verdict import Verdict, compared, not_compared

_GRACE = 5
"""Seconds over the limit after which this process ends itself, if nobody is left to do it."""


def main() -> None:
    """Serves until stdin ends."""
    address, arguments, seconds = json.loads(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        compare = load(address, arguments)
    except Exception as error:
        _reply(replies, {"error": f"{type(error).__name__}: {error}"})
        return
    _reply(replies, {"ready": True})
    for line in sys.stdin:
        pair = json.loads(line)
        signal.alarm(int(seconds) + _GRACE)
        verdict = judged(compare, pair["answer"], pair["gold"])
        signal.alarm(0)
        _reply(replies, {"correct": verdict.correct, "compared": verdict.compared})


def load(address: str, arguments: list[str | None]) -> Callable[[str, str], Any]:
    """The function at `package.module:name`, or what it gives when called with `arguments`.

    Modules of the working directory are found, too, after all others.
    """
    module, _, name = address.partition(":")
    sys.path.append(os.getcwd())
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    compare = found(*arguments) if arguments else found
    if not callable(compare):
        raise TypeError(f"{address} gives {type(compare).__name__}, which is no function")
    return compare  # type: ignore[no-any-return]  # a function of two texts, as far as is known


def judged(compare: Callable[[str, str], Any], answer: str, gold: str) -> Verdict:
    """The verdict of a function that may give true, false, None or a Verdict, or raise."""
    try:
        found = compare(answer, gold)
    except Exception as error:
        return not_compared(f"{type(error).__name__}: {error}")
    if isinstance(found, Verdict):
        return found
    if found is None:
        return not_compared("the verifier gave None")
    if type(found).__name__ in ("bool", "bool_"):  # numpy's counts
        return compared(bool(found), answer, gold)
    return not_compared(f"the verifier gave {type(found).__name__}, not true or false")


def _reply(replies: IO[str], message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
