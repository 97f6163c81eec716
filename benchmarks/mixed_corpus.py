"""A corpus of mixed English out of what every Python installation has, and GSM8K.

Six kinds, each of the same number of characters: conversations and prose (the quickstart's,
generated), word problems with solutions (GSM8K, as conversations), code and its manual (Python's
own), licences and readmes of packages. How many bytes a token takes goes by how sure the teacher
is, so one kind alone says little.
"""

import importlib.metadata
import json
import sysconfig
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.quickstart_corpus import corpus_lines

_MODULES = ("heapq", "statistics", "textwrap", "shlex", "difflib", "calendar")
_PACKAGES = ("numpy", "transformers", "datasets", "torch", "pydantic")
_PAPER = 8000
"""Characters of a licence or a readme."""

Row = dict[str, Any]


def write_mixed_corpus(path: Path, gsm8k: Path, characters: int) -> None:
    """Writes conversations as such, and a long text of every other kind."""
    with path.open("w", encoding="utf-8") as file:
        for kind, rows in _KINDS.items():
            for number, row in enumerate(_first(rows(gsm8k), characters)):
                named = {"id": f"{kind}-{number}", "source": kind, **row}
                file.write(json.dumps(named) + "\n")


def write_mixed_texts(path: Path, gsm8k: Path, characters: int) -> None:
    """Writes one long text of each kind, so that windows of any length are full."""
    with path.open("w", encoding="utf-8") as file:
        for kind, rows in _KINDS.items():
            text = "\n\n".join(_text(row) for row in _first(rows(gsm8k), characters))
            file.write(json.dumps({"id": kind, "source": kind, "text": text}) + "\n")


def _first(rows: Iterator[Row], characters: int) -> Iterator[Row]:
    """Rows of so many characters in all; a text is cut, a conversation is not."""
    for row in rows:
        if characters <= 0:
            return
        yield {"text": row["text"][:characters]} if "text" in row else row
        characters -= len(_text(row))


def _text(row: Row) -> str:
    turns = row.get("messages", ())
    return row.get("text") or "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _conversations(_: Path) -> Iterator[Row]:
    rows = map(json.loads, corpus_lines())
    return ({"messages": row["messages"]} for row in rows if row["source"] == "instructions")


def _problems(gsm8k: Path) -> Iterator[Row]:
    for line in gsm8k.read_text("utf-8").splitlines():
        row = json.loads(line)
        turns = (("user", row["question"]), ("assistant", row["answer"]))
        yield {"messages": [{"role": role, "content": content} for role, content in turns]}


def _prose(_: Path) -> Iterator[Row]:
    rows = map(json.loads, corpus_lines())
    yield _long(row["text"] for row in rows if row["source"] == "prose")


def _code(_: Path) -> Iterator[Row]:
    folder = Path(sysconfig.get_path("stdlib"))
    yield _long((folder / f"{module}.py").read_text("utf-8") for module in _MODULES)


def _manual(_: Path) -> Iterator[Row]:
    from pydoc_data.topics import topics

    yield _long(islice(topics.values(), 40))


def _papers(_: Path) -> Iterator[Row]:
    licence = (Path(sysconfig.get_path("stdlib")) / "LICENSE.txt").read_text("utf-8")
    readmes = (str(importlib.metadata.metadata(package).get_payload()) for package in _PACKAGES)
    yield _long(text[:_PAPER] for text in (licence, *readmes))


def _long(texts: Iterator[str]) -> Row:
    return {"text": "\n\n".join(texts)}


_KINDS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "conversations": _conversations,
    "problems": _problems,
    "prose": _prose,
    "code": _code,
    "manual": _manual,
    "papers": _papers,
}
