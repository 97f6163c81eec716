import pytest
from pydantic import ValidationError

from schemas.errors import ConfigError
from stage2_student.settings import TrainSettings


def settings(**given):
    return TrainSettings(**{"dump": ["d"], "student": "s", "out": "o", **given})


def test_the_words_of_the_quickstart():
    found = settings(student_layers=[0, 6], holdout=0.1, steps=70, max_length=512, batch_size=4)
    assert (found.loss, found.weigh_by, found.report_to) == ("fkl", "none", [])
    assert (found.tail, found.temperature, found.ce_weight) == (None, None, None)


@pytest.mark.parametrize(
    ("given", "found", "cure"),
    [
        ({"student": None}, "neither", "--student-config"),
        ({"student_config": "c.yaml"}, "both", "--student "),
        (
            {"student": None, "student_config": "c", "student_layers": [0]},
            "student_config",
            "num_hidden_layers",
        ),
        ({"student_layers": [3, 1]}, "[3, 1]", "--student-layers 0,6,12"),
        ({"student_layers": [-1]}, "[-1]", "from 0"),
        ({"betas": [0.9]}, "[0.9]", "--betas 0.9,0.95"),
        ({"steps": 3, "epochs": 1}, "steps 3 and epochs 1", "Leave one"),
        ({"decay_steps": 3}, "cosine", "--schedule wsd"),
        ({"dump_weights": [0.0, 0.0]}, "0, 0", "--dump-weights 3,1"),
        ({"dump_weights": [2.0, -1.0]}, "2, -1", "do not sum to zero"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens 9", "Correct one"),
        ({"dump_weights": [1.0], "mix_temperature": 2}, "mix_temperature", "Leave one"),
        ({"curriculum": ["until=9 max_tokens=4"]}, "not given", "Give --steps"),
        ({"curriculum": ["soon"], "steps": 9}, "soon", "until=1000 max_tokens=256"),
        ({"steps": 4, "warmup_steps": 5}, "warmup_steps 5", "more --steps"),
        (
            {"steps": 9, "warmup_steps": 5, "decay_steps": 5, "schedule": "wsd"},
            "decay_steps 5",
            "more --steps",
        ),
    ],
)
def test_contradictions_say_what_was_found_and_what_to_do(given, found, cure):
    with pytest.raises(ConfigError) as caught:
        settings(**given)
    assert found in str(caught.value)
    assert cure in str(caught.value)


@pytest.mark.parametrize(
    "given", [{"step": 3}, {"dump": []}, {"temperature": 0}, {"dtype": "int8"}, {"holdout": 1.0}]
)
def test_unknown_keys_and_values_out_of_range_are_refused(given):
    with pytest.raises(ValidationError):
        settings(**given)
