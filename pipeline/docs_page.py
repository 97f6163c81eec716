"""Writes docs/commands.md from the commands themselves: `python -m pipeline.docs_page`.

A test fails when the page is stale.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from pipeline.cli import spec_of
from pipeline.command_names import COMMANDS
from pipeline.options import default_text, kind_of, option_name

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"

INTRODUCTION = """\
# Commands

Written by `python -m pipeline.docs_page` from the program itself; do not edit.

Every setting below can be given in three ways, the strongest first:

1. a flag: `--top-k 64`;
2. a YAML file: `potstill dump dump.yaml` (or `--config dump.yaml`) with the line `top_k: 64`;
3. an environment variable: `POTSTILL_DUMP_TOP_K=64` for one command, `POTSTILL_TOP_K=64` for all.

`--show-config` says where each value came from. Lists are written with commas or by repeating the
flag; in YAML also as lists. An unknown flag, key or variable is refused, the nearest one named.

| exit code | means |
|---|---|
| 0 | done |
| 1 | the thing checked is bad (`verify`, `dataset diff`, `report --assert`, `doctor`) |
| 2 | the input or the configuration is wrong |
| 3 | another process holds the lock, or the target exists and differs |
| 4 | finished, but samples were set aside |
| 5 | temporary (store, network): try again later |
| 130 | interrupted; what was finished is kept |
| other | a bug of potstill: please report it |

With `--json` stdout carries JSON and nothing else: one object, or, for `dump`, `augment`, `train`,
`quickstart` and most of `dataset` lines whose `event` is `launch`, `status`, `done` or `error`;
the last line is the summary. Progress and logs go to stderr. `NO_COLOR=1` turns colours off. Shell
completion: `eval "$(_POTSTILL_COMPLETE=bash_source potstill)"` (or `zsh_source`, `fish_source`).
"""


def page() -> str:
    """The page as it should be."""
    return "\n".join([INTRODUCTION, *(line for name in COMMANDS for line in _command(name))])


def _command(name: str) -> Iterator[str]:
    spec = spec_of(name)
    yield f"## potstill {name}\n"
    yield f"{spec.help}\n"
    yield "```\n" + "\n".join(spec.examples) + "\n```\n"
    if spec.positional:
        field = spec.model.model_fields[spec.positional]
        yield f"`{spec.positional.upper()}`: {field.description}\n"
    for title, names in spec.panels.items():
        yield f"**{title}**\n"
        yield "| flag | value | default | meaning |\n|---|---|---|---|"
        yield from (_row(field, spec.model.model_fields[field]) for field in names)
        yield ""
    if spec.switches:
        yield "**No settings, so flags only**\n"
        yield "| flag | meaning |\n|---|---|"
        yield from (f"| `{option.opts[0]}` | {option.help} |" for option in spec.switches)
        yield ""


def _row(name: str, field: FieldInfo) -> str:
    value = kind_of(field).metavar.replace("|", " \\| ")
    default = "required" if field.is_required() else _code(default_text(field))
    return f"| `{option_name(name)}` | {value or 'on or off'} | {default} | {field.description} |"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
