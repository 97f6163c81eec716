"""A YAML file of settings, read so that an error can name the line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from schemas.errors import ConfigError

_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One top-level key's value and its line, counted from 1."""

    value: Any
    line: int


class _Loader(yaml.SafeLoader):
    """Plain YAML only, no Python objects; no key twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.composer.ComposerError(
                    None, None, f"the key {key.value!r} appears twice", key.start_mark
                )
            seen.add(key.value)
        return node


def read_yaml(path: Path) -> dict[str, Entry]:
    """The top-level keys of a YAML file with their values and lines.

    Raises:
        ConfigError: no such file, not UTF-8, not YAML, a key twice, or no mapping.
    """
    text = _text(path)
    try:
        loader = _Loader(text)
        return _entries(loader, loader.get_single_node(), path)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}, line {line}: {error.problem}. Mend that line.") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{path}, line {line}: the character {chr(error.character)!r} has no place in a text "
            "file. Remove it."
        ) from error
    except (ValueError, TypeError, RecursionError) as error:  # a date of the 99th, a list as a key
        raise ConfigError(f"{path} holds a value that cannot be read: {error}. Mend it.") from error


def _entries(loader: _Loader, node: Any, path: Path) -> dict[str, Entry]:
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            f"{path} holds no settings: found a {node.id} where lines like `key: value` are "
            "expected. `potstill examples` prints files to start from."
        )
    return {
        str(key.value): Entry(
            value=loader.construct_object(value, deep=True), line=key.start_mark.line + 1
        )
        for key, value in node.value
    }


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST).decode()
    except FileNotFoundError:
        raise ConfigError(
            f"the configuration file {path} does not exist. `potstill examples` prints files to "
            "start from."
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text (byte {error.start}). Is it a YAML file?"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Give a YAML file.") from error
