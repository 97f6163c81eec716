"""What every command is made of: a settings model, its options, and a function that works."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from pydantic import BaseModel
from rich.table import Table
from rich_click import RichCommand
from rich_click.rich_panel import RichOptionPanel

from pipeline.configuration import Sources, Value, gather, origins, validated
from pipeline.options import click_options, kind_of, option_name
from pipeline.output import Output
from schemas.errors import ConfigError

Settings = TypeVar("Settings", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a command, ready to run.

    Attributes:
        settings: the validated settings.
        values: those that were given, with their origins.
        switches: the command's own flags that are no settings, such as --dry-run.
        output: where words go.
    """

    settings: Any
    values: Mapping[str, Value]
    switches: Mapping[str, Any]
    output: Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A command as data.

    Attributes:
        name: the word that users type.
        help: what it does; the first sentence stands in `potstill --help`.
        examples: command lines, shown at the end of the help and tested to parse.
        model: the settings.
        panels: the settings in groups, each field exactly once, as --help shows them.
        run: does the work; gives the exit code.
        positional: the field that is given without a flag; all words are its, if it is a list.
        switches: options that are no settings and so have no YAML key.
        long: whether --json means lines with launch, status and done.
        file_by_name: whether a word that ends in .yaml is the file of settings.
    """

    name: str
    help: str
    examples: tuple[str, ...]
    model: type[BaseModel]
    panels: Mapping[str, tuple[str, ...]]
    run: Callable[[Call], int]
    positional: str | None = None
    switches: tuple[click.Option, ...] = field(default=())
    long: bool = False
    file_by_name: bool = True


def click_command(spec: Spec) -> click.Command:
    """The command as click and the lazy group want it."""
    params: list[click.Parameter] = [
        _words(spec),
        *click_options(spec.model, spec.panels),
        *spec.switches,
        *_everywhere(),
    ]
    panels = {title: [option_name(n) for n in names] for title, names in spec.panels.items()}
    panels["Run"] = [o.opts[0] for o in (*spec.switches, *_everywhere())] + ["--help"]
    command = RichCommand(
        name=spec.name,
        help=_help(spec),
        params=params,
        callback=lambda **given: run(spec, given),
        panels=[RichOptionPanel(title, options=names) for title, names in panels.items() if names],
    )
    return cast(click.Command, command)


def run(spec: Spec, given: dict[str, Any]) -> int:
    """One call from parsed words to an exit code.

    Raises:
        PotstillError: the settings are wrong, or the work failed.
    """
    words, file = _split(given.pop("words"), given.pop("config"), spec)
    switches = {o.name: given.pop(str(o.name)) for o in spec.switches}
    common = {name: given.pop(name) for name in ("show_config", "json_wanted", "quiet")}
    flags = {name: value for name, value in given.items() if value not in (None, ())} | words
    values = gather(spec.model, _sources(spec, flags, file))
    settings = validated(spec.model, values, spec.name)
    output = Output(
        command=spec.name,
        json_wanted=common["json_wanted"],
        quiet=common["quiet"],
        long=spec.long and not common["show_config"],
    )
    with output:
        if common["show_config"]:
            return _show(origins(settings, values), output)
        output.launch(settings.model_dump(mode="json"))
        call = Call(settings=settings, values=values, switches=switches, output=output)
        return spec.run(call)


def _sources(spec: Spec, flags: Mapping[str, Any], file: Path | None) -> Sources:
    return Sources(
        command=spec.name,
        flags=flags,
        positional=spec.positional,
        file=file,
        environment=os.environ,
    )


def _split(
    words: Sequence[str], config: str | None, spec: Spec
) -> tuple[dict[str, Any], Path | None]:
    """Words without a flag: the YAML file, and the positional setting."""
    files = [word for word in words if spec.file_by_name and word.endswith((".yaml", ".yml"))]
    others = [word for word in words if word not in files]
    if config is not None:
        files.append(config)
    if len(files) > 1:
        raise ConfigError(f"one YAML file is read; found {' and '.join(files)}. Give one.")
    allowed = 1 if spec.positional else 0
    if len(others) > allowed and not _takes_many(spec):
        raise ConfigError(
            f"unexpected {others[allowed]!r}: settings are given as flags, a file of them ends in "
            f".yaml. `potstill {spec.name} --help` has examples."
        )
    given = {}
    if spec.positional and others:
        given[spec.positional] = others if _takes_many(spec) else others[0]
    return given, Path(files[0]) if files else None


def _takes_many(spec: Spec) -> bool:
    return bool(spec.positional) and kind_of(spec.model.model_fields[str(spec.positional)]).many


def _show(values: Mapping[str, Value], output: Output) -> int:
    table = Table("setting", "value", "from", box=None, pad_edge=False, header_style="bold")
    for name, value in values.items():
        table.add_row(name, str(value.value), value.origin, style=_emphasis(value))
    shown = {name: {"value": v.value, "origin": v.origin} for name, v in values.items()}
    output.result(shown, table)
    return 0


def _emphasis(value: Value) -> str:
    return "dim" if value.origin == "default" else ""


def _help(spec: Spec) -> str:
    """The help text: what it does, the positional setting, the examples line by line."""
    paragraphs = [spec.help]
    if spec.positional:
        about = spec.model.model_fields[spec.positional].description
        paragraphs.append(f"{spec.positional.upper()}: {about}")
    paragraphs.append("Examples:")
    return "\n\n".join(paragraphs) + "\n\n    " + "\n    ".join(f"$ {e}" for e in spec.examples)


def _words(spec: Spec) -> click.Argument:
    dots = "…" if _takes_many(spec) else ""
    position = f"[{spec.positional.upper()}{dots}] " if spec.positional else ""
    file = "[FILE.yaml]" if spec.file_by_name else ""
    return click.Argument(["words"], nargs=-1, metavar=f"{position}{file}")


def _everywhere() -> list[click.Option]:
    return [
        click.Option(
            ["--config"], metavar="FILE.yaml", help="The same as FILE.yaml without a flag."
        ),
        click.Option(
            ["--show-config"], is_flag=True, help="Show each setting and its origin; do nothing."
        ),
        click.Option(["--json", "json_wanted"], is_flag=True, help="JSON and only that on stdout."),
        click.Option(
            ["--quiet", "-q"], is_flag=True, help="Only results and errors: no progress, no hints."
        ),
    ]
