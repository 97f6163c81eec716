"""Where two settings differ, field by field, both values shown."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def differences(here: BaseModel, there: BaseModel) -> list[str]:
    """Lines like `teacher.dtype: float32 here, bfloat16 there`, one per differing field."""
    return _differences("", here.model_dump(mode="json"), there.model_dump(mode="json"))


def _differences(path: str, here: Any, there: Any) -> list[str]:
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        names = [*here, *(name for name in there if name not in here)]
        return [
            line
            for name in names
            for line in _differences(
                f"{path}.{name}" if path else name,
                here.get(name, "nothing"),
                there.get(name, "nothing"),
            )
        ]
    return [] if here == there else [f"{path}: {_shown(here)} here, {_shown(there)} there"]


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 120 else text[:117] + "…"
