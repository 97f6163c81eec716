"""Every layout that can be imported on one screen, and how one is recognised."""

from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from pipeline.dataset_exchange_settings import ImportSettings
from pipeline.foreign_axolotl import read_axolotl
from pipeline.foreign_distillkit import CONFIG, Compression, compression_of, read_distillkit
from pipeline.foreign_files import ForeignFiles
from pipeline.foreign_megatron import TAR, read_megatron
from pipeline.foreign_rows import ForeignRow
from schemas.errors import InputError

Opened = Callable[[], Iterator[ForeignRow]]
"""Starts reading at the first row."""

_MARKS: dict[str, tuple[str, ...]] = {
    "distillkit": ("compressed_logprobs", "packed_indices", "top_values"),
    "axolotl": ("target_logprobs", "logprobs"),
}
"""Columns that only this system's rows have."""


def open_format(name: str, files: ForeignFiles, settings: ImportSettings) -> Opened:
    """The rows of a layout.

    Raises:
        InputError: what it needs besides is missing.
    """
    if name == "distillkit":
        config = _compression(files, settings)
        return lambda: read_distillkit(files, config)
    if name == "megatron":
        return lambda: read_megatron(files, settings.tokens)
    return lambda: read_axolotl(files)


def recognised(files: ForeignFiles) -> str:
    """Whose layout it is.

    Raises:
        InputError: nobody's that is known; what was looked for is listed.
    """
    if any(TAR.match(PurePosixPath(path).name) for path in files.of(".tar")):
        return "megatron"
    columns = files.columns()
    for name, marks in _MARKS.items():
        if set(marks) & set(columns):
            return name
    looked = "; ".join(f"{name}: {' or '.join(marks)}" for name, marks in _MARKS.items())
    raise InputError(
        f"the layout of {files.url} is not recognised: its rows have {', '.join(columns) or 'no'} "
        f"columns. Looked for: {looked}; megatron: files cp<C>_dp<D>__<iteration>.tar. Give --from "
        "if it is one of these."
    )


def compressed_size(files: ForeignFiles, settings: ImportSettings) -> int | None:
    """The vocabulary that DistillKit's configuration names; None without one."""
    config = _compression(files, settings)
    return None if config is None else config.d


def _compression(files: ForeignFiles, settings: ImportSettings) -> Compression | None:
    if settings.compression_config is not None:
        try:
            with open(settings.compression_config, encoding="utf-8") as file:
                return compression_of(file.read(), settings.compression_config)
        except OSError as error:
            raise InputError(f"--compression-config cannot be read: {error}.") from error
    beside = [path for path in files.of(".yaml") if PurePosixPath(path).name == CONFIG]
    return compression_of(files.read(beside[0]).decode(), beside[0]) if beside else None
