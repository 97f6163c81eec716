"""Students of several kinds: carved, tied, in bfloat16, that cannot be packed."""

from pathlib import Path

import pytest
import torch

from stage2_student.run import train
from tests.stage2_student.trainings import (
    CONFIG,
    figures,
    load,
    make_training,
    save_student,
    weights,
    write_config,
)

pytestmark = pytest.mark.usefixtures("tell_every_step")


def test_a_carved_student_says_what_its_weights_came_from(tmp_path):
    teacher = save_student(tmp_path / "teacher", num_hidden_layers=4)
    settings = make_training(tmp_path, student=str(teacher), student_layers=[0, 2], steps=2)
    train(settings)
    model, info = load(Path(settings.out))
    assert not any(info.values())
    assert model.config.num_hidden_layers == 2
    card = (Path(settings.out) / "README.md").read_text()
    assert "base_model: teacher" in card and "layers 0, 2 were kept" in card
    assert (Path(settings.out) / "chat_template.jinja").is_file()


@pytest.mark.parametrize("architecture", ["gemma2", "cohere"])
def test_students_with_transformed_logits_train_and_load(tmp_path, architecture):
    student = save_student(tmp_path / "student", architecture)
    settings = make_training(tmp_path, student=str(student), steps=2)
    train(settings)
    _, info = load(Path(settings.out))
    assert not any(info.values())


def test_bfloat16_keeps_float32_checkpoints_and_stores_bfloat16(tmp_path):
    settings = make_training(tmp_path, steps=3, dtype="bfloat16", save_steps=2)
    train(settings)
    assert {t.dtype for t in weights(settings.out).values()} == {torch.bfloat16}
    checkpoint = Path(settings.out) / "checkpoints" / "step-2"
    assert {t.dtype for t in weights(checkpoint).values()} == {torch.float32}
    model, info = load(Path(settings.out))
    assert model.dtype == torch.bfloat16 and not any(info.values())
    losses = [line["loss"] for line in figures(settings.out)]
    reference = make_training(tmp_path, steps=3, out=str(tmp_path / "reference"))
    train(reference)
    assert losses == pytest.approx([line["loss"] for line in figures(reference.out)], rel=0.02)
    assert losses != [line["loss"] for line in figures(reference.out)]


def test_tied_weights_are_stored_once_also_in_bfloat16(tmp_path):
    path = write_config(tmp_path, CONFIG + "tie_word_embeddings: true\n")
    settings = make_training(tmp_path, steps=1, dtype="bfloat16", student_config=str(path))
    train(settings)
    assert "lm_head.weight" not in weights(settings.out)
    model, info = load(Path(settings.out))
    assert not any(info.values())
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_model_that_cannot_be_packed_trains_on_single_documents(tmp_path):
    path = write_config(
        tmp_path,
        "model_type: mamba\nhidden_size: 16\nstate_size: 4\nnum_hidden_layers: 2\n",
    )
    seen = []
    settings = make_training(tmp_path, student_config=str(path), steps=2)
    train(settings, seen.append)
    assert any("one document each" in progress.message for progress in seen)
    assert not any(load(Path(settings.out))[1].values())
