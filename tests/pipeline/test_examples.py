import json
from pathlib import Path

import pytest
import yaml

from pipeline import examples
from pipeline.cli_schema import MODELS, json_schema
from pipeline.quickstart import steps
from tests.pipeline.command_line import potstill

FILES = [name for name in examples.names() if name not in examples.GENERATED]


@pytest.mark.parametrize("name", FILES)
def test_every_example_is_a_valid_configuration(name: str) -> None:
    command = name.removesuffix(".yaml").split("-")[-1]
    ran = potstill(command, examples.folder() / name, "--show-config")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("name", FILES)
def test_every_example_says_what_it_is_for(name: str) -> None:
    assert len(examples.about(name)) > 20
    assert f"potstill {name.removesuffix('.yaml').split('-')[-1]}" in examples.read(name)


def test_examples_are_listed_and_printed_as_they_are() -> None:
    listed = potstill("examples", "--json")
    assert set(FILES) <= set(listed.lines[0])
    printed = potstill("examples", "train")
    assert printed.out == potstill("examples", "train.yaml").out
    assert yaml.safe_load(printed.out)["loss"] == "fkl"
    wrong = potstill("examples", "trian")
    assert wrong.code == 2
    assert "'train'" in wrong.err


def test_an_example_is_never_written_over_a_file(tmp_path: Path) -> None:
    target = tmp_path / "new" / "train.yaml"
    assert potstill("examples", "train", "--out", target).code == 0
    assert target.read_text() == examples.read("train")
    again = potstill("examples", "train", "--out", target)
    assert again.code == 3
    assert "exists already" in again.err


@pytest.mark.parametrize("name", ["dump", "generate-dump", "train", "evaluate"])
def test_the_quickstart_as_yaml_says_what_its_commands_say(name: str) -> None:
    found = steps(Path("potstill-quickstart"), Path("teacher.gguf"))
    command = name.rsplit("-", maxsplit=1)[-1]
    (step,) = [
        step
        for step in found
        if step.argv[0] == command and ("--generate" in step.argv) == name.startswith("generate")
    ]
    yaml_file = examples.folder() / f"quickstart-{name}.yaml"
    typed, written = (
        {name: shown["value"] for name, shown in ran.lines[0].items()}
        for ran in (
            potstill(*step.argv, "--show-config", "--json"),
            potstill(command, yaml_file, "--show-config", "--json"),
        )
    )
    assert typed == written


@pytest.mark.parametrize("of", MODELS)
def test_schemas_are_printed(of: str) -> None:
    ran = potstill("schema", of)
    assert json.loads(ran.out) == json_schema(of)
    assert json_schema(of)["additionalProperties"] is False
