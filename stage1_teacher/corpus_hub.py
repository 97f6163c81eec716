"""Rows of a dataset on the hub, streamed."""

import re
from collections.abc import Iterator
from typing import Any

from schemas.errors import CorpusError, TemporaryError
from stage1_teacher.raw_rows import RawRow

_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[\w.-]+)?$")


def is_hub_name(location: str) -> bool:
    """Whether a text could be a dataset's name: `name` or `owner/name`."""
    return bool(_NAME.match(location))


def read_hub(name: str, subset: str | None, split: str, wanted: frozenset[str]) -> Iterator[RawRow]:
    """Rows of one split; nothing but the part being read is downloaded.

    Raises:
        CorpusError: no such dataset, subset or split.
        TemporaryError: the hub cannot be reached.
    """
    dataset = _load(name, subset, split)
    columns = list(dataset.column_names or [])
    if columns:
        dataset = dataset.select_columns([column for column in columns if column in wanted])
    for number, values in enumerate(_rows(dataset, name), 1):
        yield RawRow(
            where=f"{name} ({split}), row {number}", values=values, columns=columns or list(values)
        )


def _load(name: str, subset: str | None, split: str) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        return load_dataset(name, subset, split=split, streaming=True)
    except DatasetNotFoundError as error:
        raise CorpusError(
            f"no corpus {name}: there is no such file or folder, and no such dataset on the hub. "
            "Check the name; a private dataset needs `hf auth login`."
        ) from error
    except ConnectionError as error:
        raise _unreachable(name, error) from error
    except (ValueError, FileNotFoundError, RuntimeError) as error:
        raise CorpusError(
            f"the dataset {name} cannot be read with subset {subset!r} and split {split!r}: "
            f"{' '.join(str(error).split())[:400]} Give --subset and --split."
        ) from error


def _rows(dataset: Any, name: str) -> Iterator[dict[str, Any]]:
    try:
        yield from dataset
    except ConnectionError as error:
        raise _unreachable(name, error) from error


def _unreachable(name: str, error: Exception) -> CorpusError | TemporaryError:
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return CorpusError(
            f"no corpus {name}: there is no such file or folder, and HF_HUB_OFFLINE keeps the hub "
            "from being asked. Check the path, or unset HF_HUB_OFFLINE."
        )
    return TemporaryError(
        f"no corpus {name} on this machine, and the hub cannot be reached: {error}. "
        "Check the path, or try again later."
    )
