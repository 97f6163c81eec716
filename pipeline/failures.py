"""From an exception to what a user reads and the exit status: see the list in schemas/errors.py."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import click

from pipeline.program import ISSUES
from schemas.errors import PotstillError

OURS = 70
"""Exit status of a bug of ours (EX_SOFTWARE)."""

INTERRUPTED = 130


def exit_code(work: Callable[[], Any], argv: Sequence[str]) -> int:
    """Runs `work`; prints what went wrong, if anything, and gives the exit status."""
    try:
        result = work()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:  # `potstill … | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return _failed(error, argv)
    return result if isinstance(result, int) else 0


def _failed(error: BaseException, argv: Sequence[str]) -> int:
    kind = type(error).__name__
    if isinstance(error, PotstillError):
        return _tell(str(error), kind, error.exit_code, argv)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        text = "interrupted. What was finished is kept; run the same command again to go on."
        return _tell(text, "StoppedError", INTERRUPTED, argv)
    if isinstance(error, click.ClickException):
        return _tell(error.format_message() + _help_hint(error), kind, 2, argv)
    return _our_bug(error, argv)


def _tell(text: str, kind: str, code: int, argv: Sequence[str]) -> int:
    from pipeline.plain_text import visible_lines

    text = visible_lines(text)
    if "--json" in argv:
        from pipeline.output import write_json

        line = {"event": "error", "kind": kind, "message": text, "exit_code": code}
        write_json(line, sys.stdout)
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    console.print(Text("potstill: ", style="bold red") + Text(text), soft_wrap=True)
    return code


def _help_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"\n`{context.command_path} --help` shows what there is." if context else ""


def _our_bug(error: BaseException, argv: Sequence[str]) -> int:
    traceback.print_exception(error)
    text = (
        f"a bug in potstill, not in what you did: {type(error).__name__}: {error}\n"
        f"Please report it at {ISSUES} with the text above and the output of "
        "`potstill doctor --json`."
    )
    return _tell(text, type(error).__name__, OURS, argv)
