from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from pipeline.configuration import Sources, gather, origins, validated
from schemas.errors import ConfigError


class Toy(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    out: str = Field(description="Where to.")
    steps: int = Field(10, ge=1, description="How long.")
    rate: float | None = Field(None, description="How fast.")
    layers: list[int] = Field([], description="Which.")
    kind: Literal["a", "b"] = Field("a", description="What.")
    save: bool = Field(False, description="Whether.")


def settings(flags=(), text="", environment=(), tmp_path=None):
    file = None
    if tmp_path is not None:
        file = tmp_path / "toy.yaml"
        file.write_text(text)
    sources = Sources(
        command="toy",
        flags=dict(flags),
        positional="out",
        file=file,
        environment=dict(environment),
    )
    values = gather(Toy, sources)
    return validated(Toy, values, "toy"), values


def test_flags_win_over_yaml_over_environment_over_defaults(tmp_path: Path) -> None:
    environment = {
        "POTSTILL_OUT": "general",
        "POTSTILL_STEPS": "3",
        "POTSTILL_TOY_STEPS": "4",
        "POTSTILL_RATE": "0.5",
        "POTSTILL_KIND": "b",
        "UNRELATED": "1",
    }
    text = "steps: 5\nrate: 1e-3\n"
    found, values = settings({"steps": "6"}, text, environment, tmp_path)
    assert found == Toy(out="general", steps=6, rate=1e-3, kind="b")
    told = {name: value.origin for name, value in origins(found, values).items()}
    assert told == {
        "out": "POTSTILL_OUT",
        "steps": "--steps",
        "rate": f"{tmp_path / 'toy.yaml'}, line 2",
        "layers": "default",
        "kind": "POTSTILL_KIND",
        "save": "default",
    }
    found, values = settings({}, "", environment, tmp_path)
    assert (found.steps, values["steps"].origin) == (4, "POTSTILL_TOY_STEPS")


@pytest.mark.parametrize("text", ["layers: [0, 6, 12]", "layers: 0,6,12", "layers: '0, 6,12'"])
def test_lists_may_be_written_with_commas(tmp_path: Path, text: str) -> None:
    assert settings({"out": "o"}, text, {}, tmp_path)[0].layers == [0, 6, 12]


def test_lists_from_flags_and_environment() -> None:
    assert settings({"out": "o", "layers": ("0,6", "12")})[0].layers == [0, 6, 12]
    assert settings({"out": "o"}, environment={"POTSTILL_LAYERS": "7"})[0].layers == [7]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("out: x\nstepps: 3", ["line 2", "'stepps'", "'steps'"]),
        ("out: x\nzzz: 3", ["line 2", "'zzz'", "Remove it"]),
        ("steps: 3\nsteps: 4", ["line 2", "'steps' appears twice"]),
        ("out: {a: 1, a: 2}", ["line 1", "'a' appears twice"]),
        ("- a\n- b", ["no settings", "sequence"]),
        ("out: [", ["line 1"]),
        ("out: !!python/object:os.system x", ["line 1", "python/object"]),
        ("out: o\nsteps: 0", ["steps", "line 2", "greater than or equal to 1", "found 0"]),
        ("out: o\nsteps: many", ["steps", "line 2", "'many'"]),
        ("steps: 3", ["out is missing", "Where to."]),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings({}, text, {}, tmp_path)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"), [(None, "cannot be read"), (b"out: \xff", "not UTF-8")]
)
def test_files_that_are_none(tmp_path: Path, content: bytes | None, text: str) -> None:
    file = tmp_path
    if content is not None:
        file = tmp_path / "x.yaml"
        file.write_bytes(content)
    sources = Sources(command="toy", flags={}, positional=None, file=file, environment={})
    with pytest.raises(ConfigError, match=text):
        gather(Toy, sources)


def test_a_misspelt_variable_of_this_command_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"POTSTILL_TOY_STEP.*'POTSTILL_TOY_STEPS'"):
        settings({"out": "o"}, environment={"POTSTILL_TOY_STEP": "3"})
    settings({"out": "o"}, environment={"POTSTILL_DUMP_TOP_K": "3"})


def test_every_wrong_value_is_named_with_its_origin() -> None:
    with pytest.raises(ConfigError) as caught:
        settings({"out": "o", "rate": "fast"}, environment={"POTSTILL_SAVE": "perhaps"})
    text = str(caught.value)
    assert "rate (--rate)" in text
    assert "'fast'" in text
    assert "save (POTSTILL_SAVE)" in text
    assert "potstill toy --help" in text
