"""The entry point `potstill`: one thin file per command, imported when the command is used."""

import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from rich_click import RichGroup
from rich_click.rich_panel import RichCommandPanel

from pipeline.command_names import COMMANDS, GROUPS, PANELS
from pipeline.failures import exit_code

if TYPE_CHECKING:
    from pipeline.command import Spec

HELP = """Offline knowledge distillation: run the teacher once, train students from its stored
signals.

Every option is also a YAML key (potstill train run.yaml) and an environment variable
(POTSTILL_TRAIN_STEPS, or POTSTILL_SEED for all commands). Flags win over the file, the file over
the environment. No telemetry."""

_CONTEXT = {"help_option_names": ["--help", "-h"]}
_WORDS = re.compile("[- ]")


class LazyGroup(RichGroup):  # type: ignore[misc]  # rich_click's types are left out of the check
    """Lists its commands without importing them.

    `first` is the word that all of them begin with; empty for the commands of one word.
    """

    def __init__(self, *words: Any, first: str = "", **more: Any) -> None:
        super().__init__(*words, **more)
        self._first = first

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are used."""
        return list(self._summaries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A stand-in that knows the summary only, which is all that a list shows."""
        summary = self._summaries().get(cmd_name)
        if summary is None:
            return None
        return click.Command(cmd_name, help=summary, short_help=summary)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command itself.

        Raises:
            click.UsageError: there is none of that name; names the nearest.
        """
        name, known = args[0], self._summaries()
        if name not in known and not name.startswith("-"):
            from pipeline.configuration import nearest

            raise click.UsageError(f"no such command {name!r}.{nearest(name, known)}", ctx)
        return name, load(f"{self._first} {name}".strip()), args[1:]

    def _summaries(self) -> dict[str, str]:
        """What may follow, and what it does."""
        if self._first:
            words = {name: name.partition(" ") for name in COMMANDS}
            return {w[2]: COMMANDS[n] for n, w in words.items() if w[0] == self._first and w[2]}
        return {n: text for n, text in COMMANDS.items() if " " not in n} | GROUPS


def load(name: str) -> click.Command:
    """Imports one command; of a group, only its list."""
    if name in GROUPS:
        return LazyGroup(name=name, first=name, help=GROUPS[name], context_settings=_CONTEXT)
    from pipeline.command import click_command

    return click_command(spec_of(name))


def spec_of(name: str) -> "Spec":
    """A command as data."""
    spec: Spec = importlib.import_module(f"pipeline.cli_{_WORDS.sub('_', name)}").SPEC
    return spec


@click.group(
    cls=LazyGroup,
    help=HELP,
    panels=[RichCommandPanel(title, commands=list(names)) for title, names in PANELS.items()],
    context_settings=_CONTEXT,
)
@click.version_option(package_name="potstill", prog_name="potstill")
def group(**_: Any) -> None:
    """The root of all commands; its help is HELP."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; gives the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    _set_environment()
    return exit_code(lambda: group.main(words, "potstill", standalone_mode=False), words)


_ENVIRONMENT = (
    # no telemetry of the libraries
    *("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "VLLM_NO_USAGE_STATS"),
    # torch on a CPU: huge pages for large tensors, whose page faults cost up to half of their time
    "THP_MEM_ALLOC_ENABLE",
)


def _set_environment() -> None:
    """Settings of libraries that are read when they are imported; the user's own come first."""
    for name in _ENVIRONMENT:
        os.environ.setdefault(name, "1")


if __name__ == "__main__":
    sys.exit(main())
