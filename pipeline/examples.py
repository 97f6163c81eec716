"""The configuration files that come with potstill."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from pipeline.configuration import nearest
from schemas.errors import ConfigError

CORPUS = "corpus.jsonl"
"""The quickstart's corpus; generated, so it is no file."""


def folder() -> Traversable:
    """Where the files are: inside the installed package, or beside it in a checkout."""
    packaged = files("pipeline") / "examples"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "examples"


def names() -> list[str]:
    """The names of all examples."""
    found = sorted(entry.name for entry in folder().iterdir() if entry.name.endswith(".yaml"))
    return [*found, CORPUS]


def about(name: str) -> str:
    """The first line of an example: what it is for."""
    if name == CORPUS:
        return "the quickstart's corpus: instructions, word problems, prose, code"
    return read(name).splitlines()[0].lstrip("# ")


def read(name: str) -> str:
    """The content of an example, which may be named without its ending.

    Raises:
        ConfigError: there is none of that name; names the nearest.
    """
    full = f"{name}.yaml" if f"{name}.yaml" in names() else name
    if full not in names():
        known = [*names(), *(each.removesuffix(".yaml") for each in names())]
        near = nearest(name, known) or f" There are: {', '.join(names())}."
        raise ConfigError(f"there is no example {name!r}.{near}")
    return _corpus() if full == CORPUS else (folder() / full).read_text("utf-8")


def _corpus() -> str:
    from pipeline.quickstart_corpus import corpus_lines

    return "".join(corpus_lines())
