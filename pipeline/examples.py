"""The configuration files that come with potstill."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from pipeline.configuration import nearest
from schemas.errors import ConfigError

CORPUS = "corpus.jsonl"
PROMPTS = "problems.jsonl"
GENERATED = {
    CORPUS: "the quickstart's corpus: instructions, word problems, prose, code",
    PROMPTS: "the quickstart's word problems of one step, for a teacher to answer",
}
"""What is made from a seed, and so is no file; what each is for."""


def folder() -> Traversable:
    """Where the files are: inside the installed package, or beside it in a checkout."""
    packaged = files("pipeline") / "examples"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "examples"


def names() -> list[str]:
    """The names of all examples."""
    found = sorted(entry.name for entry in folder().iterdir() if entry.name.endswith(".yaml"))
    return [*found, *GENERATED]


def about(name: str) -> str:
    """The first line of an example: what it is for."""
    if name in GENERATED:
        return GENERATED[name]
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
    return _made(full) if full in GENERATED else (folder() / full).read_text("utf-8")


def _made(name: str) -> str:
    from pipeline.quickstart_corpus import corpus_lines
    from pipeline.quickstart_prompts import prompt_lines

    return "".join(corpus_lines() if name == CORPUS else prompt_lines())
