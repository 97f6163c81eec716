"""Command-line options generated from a settings model: one field, one option of the same name.

The words are written once, in the model: name, type, default and description of a field become the
option, the YAML key, the environment variable, the page docs/commands.md and the JSON Schema.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.command_names import COMMANDS

_METAVARS = {bool: "", int: "INTEGER", float: "NUMBER", str: "TEXT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a field's value is written by a user.

    Attributes:
        item: the Python type of one value.
        many: whether it is a list: commas between values, and the option may be repeated.
        choices: the only values allowed, if there are such.
        verbatim: whether commas and blanks are part of a value; then a list is only made by
            repeating the option.
    """

    item: type
    many: bool = False
    choices: tuple[str, ...] = ()
    verbatim: bool = False

    @property
    def metavar(self) -> str:
        """What stands for a value in help texts."""
        word = "|".join(self.choices) or _METAVARS.get(self.item, "TEXT")
        return f"{word},…" if self.many and not self.verbatim else word


def kind_of(field: FieldInfo) -> Kind:
    """The kind of a field from its annotation; `X | None` counts as X."""
    extra = field.json_schema_extra
    verbatim = isinstance(extra, dict) and bool(extra.get("verbatim"))
    return replace(_kind(field.annotation), verbatim=verbatim)


def _kind(annotation: Any) -> Kind:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _kind(next(a for a in arguments if a is not NoneType))
    if origin in (list, tuple):
        return Kind(item=_kind(arguments[0]).item, many=True, choices=_kind(arguments[0]).choices)
    if origin is Literal:
        return Kind(item=str, choices=tuple(str(a) for a in arguments))
    return Kind(item=annotation if isinstance(annotation, type) else str)


def word_of(field: str) -> str:
    """What users call a field: Python's own words end in an underscore here, `for_` is `for`."""
    return field.removesuffix("_")


def field_of(model: type[BaseModel], word: str) -> str:
    """The field that users call so; the word itself where there is none."""
    return next((field for field in model.model_fields if word_of(field) == word), word)


def option_name(field: str) -> str:
    """The flag of a field: `min_prob` → `--min-prob`."""
    return "--" + word_of(field).replace("_", "-")


def environment_names(command: str, field: str) -> tuple[str, ...]:
    """The variables of a field, the one that counts first: for this command, for all commands.

    POTSTILL_DUMP_CHAT_TEMPLATE is `chat_template` of dump and not `dump_chat_template` of all.
    """
    field = word_of(field)
    own = f"{command}_{field}".upper().replace("-", "_").replace(" ", "_")
    ambiguous = field.startswith(tuple(f"{name.replace('-', '_')}_" for name in COMMANDS))
    names = [own] if ambiguous else [own, field.upper()]
    return tuple(f"POTSTILL_{name}" for name in names)


def default_text(field: FieldInfo) -> str:
    """A field's default as a user would type it; empty when the description says it instead."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if field.is_required() or value is None or value == [] or value is False:
        return ""
    if isinstance(value, list | tuple):
        return ",".join(_number(item) for item in value)
    return "on" if value is True else _number(value)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def click_options(model: type[BaseModel], panels: Mapping[str, tuple[str, ...]]) -> list[Any]:
    """The options of a model in the order of the panels."""
    order = [name for names in panels.values() for name in names]
    return [_click_option(name, model.model_fields[name]) for name in order]


def _click_option(name: str, field: FieldInfo) -> click.Option:
    """Unset values stay None: the default is the model's, and its origin can be told."""
    kind, flag = kind_of(field), option_name(name)
    default = default_text(field)
    text = f"{field.description or ''} [default: {default}]" if default else field.description
    shown: dict[str, Any] = {"help": text, "show_default": False}
    if kind.item is bool:
        return click.Option([name, f"{flag}/--no-{flag[2:]}"], default=None, **shown)
    if kind.choices and not kind.many:
        return click.Option([name, flag], type=click.Choice(kind.choices), default=None, **shown)
    return click.Option(
        [name, flag], multiple=kind.many, metavar=kind.metavar, default=None, **shown
    )
