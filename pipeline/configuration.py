"""Settings from everywhere a user may put them: flags, then a YAML file, the environment, defaults.

Nothing is ignored in silence: an unknown key or variable is refused with the nearest valid name.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.options import (
    Kind,
    environment_names,
    field_of,
    kind_of,
    option_name,
    word_of,
)
from pipeline.yaml_file import read_yaml
from schemas.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A setting as it was given, and where: "--top-k", "run.yaml, line 3", "POTSTILL_SEED"."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the settings of one command come from.

    Attributes:
        command: the command's name, which is part of the names of variables.
        flags: values from the command line by field, those not given left out.
        positional: the field that is given without a flag, if there is one.
        file: the YAML file, if one was given.
        environment: the environment's variables.
    """

    command: str
    flags: Mapping[str, Any]
    positional: str | None
    file: Path | None
    environment: Mapping[str, str]


def gather(model: type[BaseModel], sources: Sources) -> dict[str, Value]:
    """Every value that was given, the strongest source's; defaults are left out.

    Raises:
        ConfigError: the file cannot be read, or a key or variable is unknown.
    """
    return {
        **_from_environment(model, sources),
        **_from_file(model, sources.file),
        **_from_flags(model, sources),
    }


def validated(model: type[Model], values: Mapping[str, Value], command: str) -> Model:
    """The settings.

    Raises:
        ConfigError: a value is missing or wrong; each is named with its origin.
    """
    try:
        return model.model_validate({name: value.value for name, value in values.items()})
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        lines = [_problem(model, values, problem) for problem in problems]
        hint = f"`potstill {command} --help` describes every option."
        raise ConfigError("\n".join([*lines, hint])) from error


def from_keywords(model: type[Model], given: Mapping[str, Any], command: str) -> Model:
    """Settings from Python, checked and explained like those from the command line.

    Raises:
        ConfigError: a name is unknown, or a value is missing or wrong.
    """
    for name in given:
        if name not in model.model_fields:
            near = nearest(name, model.model_fields) or " Remove it."
            raise ConfigError(f"{command}() has no argument {name!r}.{near}")
    values = {n: Value(value=_path_as_text(v), origin="argument") for n, v in given.items()}
    return validated(model, values, command)


def _path_as_text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_path_as_text(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def origins(settings: BaseModel, values: Mapping[str, Value]) -> dict[str, Value]:
    """Every setting as it will be used, and where it came from."""
    used = settings.model_dump(mode="json")
    return {
        name: Value(value=value, origin=values[name].origin if name in values else "default")
        for name, value in used.items()
    }


def nearest(word: str, words: Iterable[str]) -> str:
    """A sentence naming the most similar word; empty when none is similar."""
    found = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


def _from_flags(model: type[BaseModel], sources: Sources) -> dict[str, Value]:
    return {
        name: Value(
            value=_listed(value, kind_of(model.model_fields[name])),
            origin=option_name(name) if name != sources.positional else name.upper(),
        )
        for name, value in sources.flags.items()
    }


def _from_file(model: type[BaseModel], path: Path | None) -> dict[str, Value]:
    if path is None:
        return {}
    values = {}
    for key, entry in read_yaml(path).items():
        where, name = f"{path}, line {entry.line}", field_of(model, key)
        if name not in model.model_fields:
            near = nearest(key, map(word_of, model.model_fields)) or " Remove it."
            raise ConfigError(f"{where}: unknown key {key!r}.{near}")
        kind = kind_of(model.model_fields[name])
        values[name] = Value(value=_listed(entry.value, kind), origin=where)
    return values


def _from_environment(model: type[BaseModel], sources: Sources) -> dict[str, Value]:
    own = environment_names(sources.command, "")[0]
    known = {environment_names(sources.command, name)[0] for name in model.model_fields}
    for variable in sources.environment:
        if variable.startswith(own) and variable not in known:
            near = nearest(variable, known) or " Unset it."
            raise ConfigError(f"unknown environment variable {variable}.{near}")
    values = {}
    for name, field in model.model_fields.items():
        for variable in reversed(environment_names(sources.command, name)):
            if variable in sources.environment:
                value = _listed(sources.environment[variable], kind_of(field))
                values[name] = Value(value=value, origin=variable)
    return values


def _listed(value: Any, kind: Kind) -> Any:
    """Lists may be written with commas, and one value without brackets."""
    if not kind.many or value is None:
        return value
    items = value if isinstance(value, list | tuple) else [value]
    if kind.verbatim:
        return list(items)
    words: list[Any] = []
    for item in items:
        words += _words(item) if isinstance(item, str) else [item]
    return words


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _problem(model: type[BaseModel], values: Mapping[str, Value], problem: ErrorDetails) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "missing":
        return f"{name} is missing: {model.model_fields[name].description}"
    if name not in values:
        return f"{problem['msg']}."
    given = values[name]
    return f"{name} ({given.origin}): {problem['msg']}; found {problem['input']!r}."
