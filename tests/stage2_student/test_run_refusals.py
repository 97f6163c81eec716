"""Trainings that cannot be, and those that break: what is said, and what is left alone."""

import socket
from pathlib import Path

import pytest
from safetensors.torch import load_file

from schemas.errors import (
    ConfigError,
    InputError,
    MismatchError,
    ModelError,
)
from stage2_student.run import train
from tests.stage2_student.trainings import make_training, save_student

pytestmark = pytest.mark.usefixtures("tell_every_step")


def test_data_that_cannot_be_is_refused_before_anything_is_written(tmp_path):
    for given, words in (
        ({"max_tokens": 2}, "--max-tokens 2: 24 left out"),
        ({"sources": ["synthetic/z"]}, "the dumps hold synthetic/a, synthetic/b"),
        ({"verdicts": ["correct"]}, "holds no verdicts"),
        ({"dump_weights": [1.0, 2.0]}, "2 numbers for 1 dump"),
        ({"max_passes": 1, "steps": 1000}, r"after \d+ steps"),
    ):
        settings = make_training(tmp_path, **{"steps": 2, **given})
        with pytest.raises(InputError, match=words):
            train(settings)
        assert not Path(settings.out).exists()


def test_a_loss_that_is_no_number_stops_and_names_the_samples(tmp_path):
    from safetensors.torch import save_file

    student = save_student(tmp_path / "student")
    tensors = load_file(student / "model.safetensors")
    tensors["model.norm.weight"] *= float("inf")
    save_file(tensors, student / "model.safetensors", metadata={"format": "pt"})
    settings = make_training(tmp_path, student=str(student))
    with pytest.raises(ModelError):
        train(settings)


def test_a_learning_rate_that_breaks_the_student_stops_and_names_the_samples(tmp_path):
    settings = make_training(
        tmp_path, steps=9, learning_rate=1e30, max_grad_norm=0, warmup_steps=0, weight_decay=0
    )
    with pytest.raises(ModelError, match=r"not a finite number at step \d, on s0-"):
        train(settings)
    assert not (Path(settings.out) / "config.json").exists()


@pytest.mark.parametrize(
    ("given", "error", "found"),
    [
        ({"temperature": 3.0}, ConfigError, "does not hold temperature 3"),
        ({"max_length": 8}, ConfigError, "max"),
        ({"expect_dump": ["sha256:" + "0" * 64]}, MismatchError, "not the expected ones"),
        ({"loss": "fkll"}, ConfigError, "unknown loss"),
        ({"student": "/nowhere/model"}, ModelError, "no student at /nowhere/model"),
    ],
)
def test_bad_input_leaves_nothing_behind(tmp_path, given, error, found):
    settings = make_training(tmp_path, **given)
    with pytest.raises(error, match=found):
        train(settings)
    assert not Path(settings.out).exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    settings = make_training(tmp_path)
    Path(settings.out).mkdir()
    (Path(settings.out) / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"something else.*thesis\.tex"):
        train(settings)
    file = make_training(tmp_path, out=str(tmp_path / "student.yaml"))
    with pytest.raises(InputError, match="is a file"):
        train(file)
    assert [path.name for path in Path(settings.out).iterdir()] == ["thesis.tex"]


def test_no_socket_is_opened(tmp_path, monkeypatch):
    teacher = save_student(tmp_path / "teacher", num_hidden_layers=2)
    settings = make_training(tmp_path, student=str(teacher), student_layers=[1], steps=2)

    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    train(settings)
