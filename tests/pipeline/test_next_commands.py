"""What `potstill train` names at its end; test_student_commands.py runs the commands."""

import pytest

from pipeline.cli_train import next_commands
from stage2_student.settings import TrainSettings

WORDS = {"dump": ["a", "b c"], "student": "s", "out": "o", "steps": 1}


def test_a_model_is_measured_talked_to_served_and_evaluated() -> None:
    commands = list(next_commands(TrainSettings(**WORDS)).values())
    assert commands[0] == "potstill evaluate o --dump a --dump 'b c'"
    assert [command.split()[0] for command in commands[1:]] == ["python", "vllm", "lm_eval"]


@pytest.mark.parametrize("dora", [False, True])
def test_of_an_adapter_only_what_takes_one_is_named(dora: bool) -> None:
    settings = TrainSettings(**WORDS, lora_rank=4, dora=dora, keep_adapter=True)
    assert [command.split()[1] for command in next_commands(settings).values()] == ["evaluate"]
