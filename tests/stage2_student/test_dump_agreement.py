"""Dumps read as one only where they agree; every difference is shown with both values."""

import shutil

import pytest

from schemas.dump_folder import open_dump
from schemas.errors import InputError, MismatchError
from schemas.manifest import Capture
from stage1_teacher.hidden_policy import with_widths
from stage2_student.dump_agreement import check_agreement, common_temperatures
from tests.dumps import hidden_policy, make_settings, sha, write_dump


def opened(path, settings, seed=0):
    write_dump(path, count=4, seed=seed, settings=settings)
    return open_dump(path)


def test_the_same_teacher_and_policy_agree(tmp_path) -> None:
    settings = make_settings(Capture())
    check_agreement([opened(tmp_path / "a", settings), opened(tmp_path / "b", settings, seed=1)])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"top_k": 32}, "capture.top_k: 64 here, 32 there"),
        ({"tail_samples": 8}, "capture.tail_samples: 64 here, 8 there"),
        ({"min_prob": None}, "capture.min_prob: 0.001953125 here, none there"),
    ],
)
def test_other_policies_do_not(tmp_path, changes, expected) -> None:
    dumps = [
        opened(tmp_path / "a", make_settings(Capture())),
        opened(tmp_path / "b", make_settings(Capture(**changes))),
    ]
    with pytest.raises(MismatchError) as error:
        check_agreement(dumps)
    assert expected in str(error.value)
    assert str(tmp_path / "a") in str(error.value)


def test_hidden_states_are_no_difference(tmp_path) -> None:
    capture = hidden_policy(top_k=64, tail_samples=64)
    dumps = [
        opened(tmp_path / "a", make_settings(Capture())),
        opened(tmp_path / "b", make_settings(with_widths(capture, 6, 4)), seed=1),
    ]
    check_agreement(dumps)


def test_another_teacher_does_not(tmp_path) -> None:
    settings = make_settings(Capture())
    teacher = settings.teacher.model_copy(update={"dtype": "bfloat16"})
    other = settings.model_copy(update={"teacher": teacher})
    dumps = [opened(tmp_path / "a", settings), opened(tmp_path / "b", other)]
    with pytest.raises(MismatchError, match=r"teacher.dtype: float32 here, bfloat16 there"):
        check_agreement(dumps)


def test_different_tokenizers_are_named_with_what_would_make_it_work(tmp_path) -> None:
    settings = make_settings(Capture())
    tokenizer = settings.tokenizer.model_copy(update={"fingerprint": sha(b"other"), "size": 63})
    teacher = settings.teacher.model_copy(update={"name": "org/other-teacher"})
    other = settings.model_copy(update={"tokenizer": tokenizer, "teacher": teacher})
    dumps = [opened(tmp_path / "a", settings), opened(tmp_path / "b", other)]
    with pytest.raises(MismatchError) as error:
        check_agreement(dumps)
    text = str(error.value)
    assert f"{tmp_path / 'a'}: that of synthetic, 64 tokens" in text
    assert f"{tmp_path / 'b'}: that of org/other-teacher, 63 tokens, {sha(b'other')}" in text
    assert "with a teacher that has the same tokenizer" in text


def test_more_temperatures_are_no_difference(tmp_path) -> None:
    dumps = [
        opened(tmp_path / "a", make_settings(Capture(temperatures=[1.0, 2.0, 4.0]))),
        opened(tmp_path / "b", make_settings(Capture(temperatures=[1.0, 4.0])), seed=1),
    ]
    check_agreement(dumps)
    assert common_temperatures(dumps) == (1.0, 4.0)


def test_the_same_dump_twice_is_refused(tmp_path) -> None:
    first = opened(tmp_path / "a", make_settings(Capture()))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match="same dump"):
        check_agreement([first, open_dump(tmp_path / "b")])


def test_no_dump() -> None:
    with pytest.raises(InputError, match="--dump"):
        check_agreement([])
