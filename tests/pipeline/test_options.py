from typing import Literal

import click
import pytest
from pydantic import BaseModel, Field

from pipeline.options import click_options, default_text, environment_names, kind_of
from stage1_teacher.settings import DumpSettings
from tests.pipeline.command_line import potstill


class Toy(BaseModel):
    count: int = Field(3, description="A number.")
    maybe: float | None = Field(None, description="Perhaps a number.")
    names: list[str] = Field(["a", "b"], description="Words.")
    kind: Literal["x", "y"] = Field("x", description="One of two.")
    on: bool = Field(True, description="A switch.")
    path: str = Field(description="Needed.")


def parsed(*words: str) -> dict[str, object]:
    options = click_options(Toy, {"All": tuple(Toy.model_fields)})
    command = click.Command("toy", params=options, callback=lambda **given: given)
    result: dict[str, object] = command.main(list(words), standalone_mode=False)
    return result


def test_nothing_given_stays_unset() -> None:
    assert set(parsed().values()) <= {None, ()}


def test_words_reach_their_fields() -> None:
    found = parsed("--count", "4", "--names", "p,q", "--names", "r", "--kind", "y", "--no-on")
    assert found["count"] == "4"
    assert found["names"] == ("p,q", "r")
    assert found["kind"] == "y"
    assert found["on"] is False


@pytest.mark.parametrize(
    ("name", "metavar", "default"),
    [
        ("count", "INTEGER", "3"),
        ("maybe", "NUMBER", ""),
        ("names", "TEXT,…", "a,b"),
        ("kind", "x|y", "x"),
        ("on", "", "on"),
        ("path", "TEXT", ""),
    ],
)
def test_what_help_says_of_a_field(name: str, metavar: str, default: str) -> None:
    field = Toy.model_fields[name]
    assert kind_of(field).metavar == metavar
    assert default_text(field) == default


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(click.UsageError) as caught:
        parsed("--cuont", "4")
    assert "--count" in caught.value.format_message()


def test_a_variable_of_one_command_is_never_taken_for_one_of_all() -> None:
    assert environment_names("dump", "chat_template") == (
        "POTSTILL_DUMP_CHAT_TEMPLATE",
        "POTSTILL_CHAT_TEMPLATE",
    )
    assert environment_names("train", "dump_chat_template") == (
        "POTSTILL_TRAIN_DUMP_CHAT_TEMPLATE",
    )


def test_a_verbatim_list_keeps_commas_and_blanks() -> None:
    kind = kind_of(DumpSettings.model_fields["stop"])
    assert (kind.many, kind.verbatim, kind.metavar) == (True, True, "TEXT")
    assert not kind_of(DumpSettings.model_fields["temperatures"]).verbatim
    words = ("--teacher", "t", "--corpus", "c", "--out", "o", "--generate", "--stop", "\n\n")
    ran = potstill("dump", *words, "--stop", "a, b ", "--show-config", "--json")
    assert ran.lines[0]["stop"]["value"] == ["\n\n", "a, b "]
