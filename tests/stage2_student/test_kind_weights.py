import pytest

from schemas.errors import ConfigError
from stage2_student.kind_weights import kind_weights


def test_kinds_and_numbers():
    assert kind_weights(["answer=2", " rationale = .5", "prompt=0"]) == {
        "answer": 2,
        "rationale": 0.5,
        "prompt": 0,
    }
    assert kind_weights([]) == {}


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (["answer"], "'answer' is no kind=weight"),
        (["=2"], "'=2' is no kind=weight"),
        (["answer=much"], "'answer=much' is no kind=weight"),
        (["answer=-1"], "a number from 0"),
        (["answer=nan"], "a number from 0"),
        (["answer=inf"], "a number from 0"),
        (["answer=1", "answer=2"], "'answer=2' names a kind again"),
    ],
)
def test_anything_else_is_refused(wrong, text):
    with pytest.raises(ConfigError, match=text):
        kind_weights(wrong)
