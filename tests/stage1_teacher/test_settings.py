import subprocess
import sys

import pytest
from pydantic import ValidationError

from schemas.errors import ConfigError
from stage1_teacher.settings import DumpSettings


def settings(**given):
    return DumpSettings(**({"teacher": "t", "corpus": "c", "out": "o"} | given))


@pytest.mark.parametrize(
    ("given", "min_prob", "top_k"),
    [
        ({}, 1 / 512, 64),
        ({"top_k": 7}, None, 7),
        ({"min_prob": 0.25}, 0.25, 64),
        ({"min_prob": 0.25, "top_k": 7}, 0.25, 7),
    ],
)
def test_the_policy_follows_from_what_was_given(given, min_prob, top_k):
    capture = settings(**given).capture()
    assert (capture.min_prob, capture.top_k) == (min_prob, top_k)


def test_the_rest_of_the_policy():
    layers = ["last", "10", "2", "10"]
    capture = settings(
        temperatures=[4, 2, 2], tail_samples=0, max_logit=True, hidden_layers=layers
    ).capture()
    assert capture.temperatures == [1.0, 2.0, 4.0]
    assert capture.tail_samples == 0
    assert capture.optional_columns == ["max_logit"]
    assert capture.hidden_layers == ["2", "10", "last"]
    assert capture.hidden_codec == "int8"
    other = settings(hidden_layers=["0"], hidden_codec="bf16").capture()
    assert other.hidden_codec == "bf16"
    assert settings().capture().hidden_codec is None


@pytest.mark.parametrize(
    ("given", "found", "cure"),
    [
        ({"temperatures": [0.0]}, "found 0", "--temperatures 1,2"),
        ({"hidden_layers": ["ten"]}, "'ten'", "--hidden-layers 10,20,last"),
        ({"hidden_layers": ["-1"]}, "'-1'", "--hidden-layers 10,20,last"),
        ({"hidden_layers": ["01"]}, "'01'", "--hidden-layers 10,20,last"),
        ({"hidden_layers": ["1\n"]}, "'1\\n'", "--hidden-layers 10,20,last"),
        ({"hidden_projection": 64}, "none are stored", "--hidden-layers"),
        ({"text_column": "a", "messages_column": "b"}, "text_column and messages_column", "one of"),
        ({"text_column": "a", "response_column": "b"}, "text_column", "Leave one"),
        ({"max_length": 8, "window_overlap": 7}, "found 7 with max_length 8", "at most 6"),
    ],
)
def test_contradictions_say_what_was_found_and_what_to_do(given, found, cure):
    with pytest.raises(ConfigError) as caught:
        settings(**given)
    assert found in str(caught.value)
    assert cure in str(caught.value)


@pytest.mark.parametrize("given", [{"topk": 3}, {"top_k": 0}, {"min_prob": 1.0}, {"dtype": "int8"}])
def test_unknown_keys_and_values_out_of_range_are_refused(given):
    with pytest.raises(ValidationError):
        settings(**given)


def test_limits_against_the_teacher():
    assert settings().limits(context=512, head_size=100).max_length == 512
    assert settings().limits(context=8192, head_size=100).max_length == 2048
    assert settings().limits(context=None, head_size=100).max_length == 2048
    assert settings(max_length=64).limits(context=64, head_size=100).max_length == 64
    with pytest.raises(ConfigError, match=r"context of 64 .*--max-length 64"):
        settings(max_length=65).limits(context=64, head_size=100)
    with pytest.raises(ConfigError, match=r"top_k 101 .*vocabulary of 100.*--top-k 100"):
        settings(top_k=101).limits(context=64, head_size=100)


def test_every_field_says_what_it_is():
    assert all(field.description for field in DumpSettings.model_fields.values())


def test_importing_the_settings_imports_no_model_library():
    code = (
        "import sys, stage1_teacher.settings\n"
        "print({'torch', 'transformers', 'datasets', 'pyarrow', 'numpy'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
