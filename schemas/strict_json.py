"""JSON from strangers: no duplicate keys, no NaN, no bombs; then a strict model over it."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.errors import DamagedError, FormatError
from schemas.manifest import FORMAT_VERSION

LARGEST = 64 << 20
"""Bytes of the largest JSON file that is read: a manifest of 10,000 shards has about 7 MB."""

_DEEPEST = 32
_SHOWN = 5

Model = TypeVar("Model", bound=BaseModel)


def json_bytes(model: BaseModel) -> bytes:
    """The bytes of a model's file: a pure function of its content."""
    return (json.dumps(model.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode()


def parse_json(data: bytes, where: str) -> Any:
    """The value in `data`.

    Args:
        data: UTF-8 JSON.
        where: the file's name, for the message.

    Raises:
        DamagedError: larger than LARGEST, not UTF-8, not JSON, a key twice, NaN or an infinity,
            or nested too deep.
    """
    if len(data) > LARGEST:
        raise DamagedError(f"{where} has {len(data):,} bytes; at most {LARGEST:,} are read.")
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
        _check_depth(value, _DEEPEST)
    except (ValueError, RecursionError) as error:
        raise DamagedError(
            f"{where} is not the JSON that potstill writes: {str(error)[:200]}. It was cut short "
            "or altered; take a fresh copy of it."
        ) from error
    return value


def parse_model(model: type[Model], data: bytes, where: str) -> Model:
    """A strict model from JSON.

    Raises:
        DamagedError: see `parse_json`; or fields are missing, unknown or of another type.
        FormatError: the format version is not one that this potstill knows.
    """
    check_version(parse_json(data, where), where)
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise DamagedError(
            f"{where} does not follow FORMAT.md: {_first_problems(error)}. It was altered, or "
            "written by another program; take a fresh copy of it."
        ) from error


def check_version(value: Any, where: str) -> None:
    """Refuses a format version that is not ours, wherever the file carries one.

    Raises:
        FormatError: names both versions.
        DamagedError: the file holds no object.
    """
    if not isinstance(value, dict):
        raise DamagedError(f"{where} holds no JSON object; take a fresh copy of it.")
    carrier = value.get("settings", value)
    found = carrier.get("format_version", FORMAT_VERSION) if isinstance(carrier, dict) else None
    if found != FORMAT_VERSION or isinstance(found, bool):
        raise FormatError(
            f"{where} has format version {found!r}; this potstill reads version {FORMAT_VERSION}. "
            "Use the potstill that wrote it, or a newer one."
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} appears twice")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _check_depth(value: Any, left: int) -> None:
    if not left:
        raise ValueError(f"nested deeper than {_DEEPEST}")
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for child in children:
            _check_depth(child, left - 1)


def _first_problems(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False)
    shown = [
        f"{'.'.join(map(str, p['loc'])) or 'all'}: {p['msg']} (found {str(p['input'])[:60]!r})"
        for p in problems[:_SHOWN]
    ]
    rest = len(problems) - len(shown)
    return "; ".join(shown) + (f"; and {rest} more" if rest else "")
