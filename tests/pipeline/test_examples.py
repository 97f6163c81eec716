import json
from pathlib import Path

import pytest
import yaml

from pipeline import examples
from pipeline.cli_schema import MODELS, json_schema
from pipeline.quickstart import steps
from schemas.manifest import Capture, Tokenizer
from stage2_student.run import train
from stage2_student.settings import TrainSettings
from tests.pipeline.command_line import potstill
from tests.stage2_student.trainings import make_dump, save_student, write_config

RICH = Capture(top_k=8, tail_samples=16, temperatures=[1.0, 2.0])
MODEL = "scratch-model.yaml"
"""Of a student, not of a command."""
FILES = [name for name in examples.names() if name not in {*examples.GENERATED, MODEL}]


@pytest.mark.parametrize("name", FILES)
def test_every_example_is_a_valid_configuration(name: str) -> None:
    command = name.removesuffix(".yaml").split("-")[-1]
    ran = potstill(command, examples.folder() / name, "--show-config")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("name", FILES)
def test_every_example_says_what_it_is_for(name: str) -> None:
    assert len(examples.about(name)) > 20
    assert f"potstill {name.removesuffix('.yaml').split('-')[-1]}" in examples.read(name)


def test_the_model_from_scratch_is_as_large_as_it_says() -> None:
    import torch
    import transformers

    from stage2_student.student_config import read_config_file

    tokens = {"size": 49_152, "head_size": 49_152, "special_tokens": {}, "chat_template": None}
    tokenizer = Tokenizer(fingerprint="sha256:" + "0" * 64, **tokens)
    config = read_config_file(Path(str(examples.folder() / MODEL)), tokenizer)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    millions = round(model.num_parameters() / 1e6)
    assert f"A llama of {millions} million parameters" in examples.about(MODEL)
    assert yaml.safe_load(examples.read("scratch-train"))["student_config"] == MODEL


RECIPES = ("compress", "scratch", "specialist")
TINY = {"epochs": None, "steps": 2, "batch_size": 2, "max_length": 48, "holdout": 0.3}
TINY |= {"decay_steps": None, "eval_steps": 1, "eval_rows": 2, "ce_warmup_steps": 0}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_train(name: str, tmp_path: Path) -> None:
    """As they stand, but for the sizes, the places and the steps at which something changes."""
    written = yaml.safe_load(examples.read(f"{name}-train").replace("until=1000", "until=1"))
    teacher = save_student(tmp_path / "teacher", num_hidden_layers=30)
    dumps = [make_dump(tmp_path / "dump", capture=RICH).path]
    if len(written["dump"]) == 2:
        dumps.append(make_dump(tmp_path / "other", capture=RICH, seed=1).path)
    changed = {"dump": [str(dump) for dump in dumps], "out": str(tmp_path / "out")}
    changed |= {name: value for name, value in TINY.items() if name in {*written, "steps"}}
    changed |= {"student": str(teacher)} if "student" in written else {}
    if "student_config" in written:
        changed["student_config"] = str(write_config(tmp_path))
    if "train_on" in written:
        changed["train_on"] = ["response", "text"]  # the kinds that this dump has
    summary = train(TrainSettings(**{**written, **changed}))
    assert summary.steps == 2 and summary.held_out_kl is not None


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
