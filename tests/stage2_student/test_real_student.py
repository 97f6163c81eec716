"""Layers of a real teacher, carved and trained on a dump with its tokenizer."""

from pathlib import Path

import pytest
import torch
import transformers

from schemas.manifest import Capture, Tokenizer
from schemas.tokenizer_fingerprint import folder_fingerprint
from stage2_student.run import train
from tests.dumps import make_settings, write_dump
from tests.stage2_student.trainings import load, make_training

HEAD = 49_152
SPECIAL = {"bos_token": 1, "eos_token": 2, "pad_token": 2}


@pytest.mark.slow
def test_layers_of_a_real_teacher_train_save_and_generate(tmp_path: Path, real_teacher: Path):
    settings = make_settings(Capture(top_k=16, tail_samples=16), HEAD)
    tokenizer = Tokenizer(
        fingerprint=folder_fingerprint(real_teacher),
        size=HEAD,
        head_size=HEAD,
        special_tokens=SPECIAL,
    )
    settings = settings.model_copy(update={"tokenizer": tokenizer})
    write_dump(tmp_path / "dump", count=6, longest=16, vocabulary=HEAD, settings=settings)
    training = make_training(
        tmp_path,
        student=str(real_teacher),
        student_layers=[0, 6, 12, 17, 23, 29],
        steps=3,
        batch_size=8,
        dtype="bfloat16",
        learning_rate=1e-3,
    )
    assert train(training).parameters == 49_552_704
    out = Path(training.out)
    model, info = load(out)
    assert not any(info.values())
    assert (model.dtype, model.config.num_hidden_layers) == (torch.bfloat16, 6)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    words = transformers.AutoTokenizer.from_pretrained(out)
    chat = words.apply_chat_template(
        [{"role": "user", "content": "Hello"}], add_generation_prompt=True, return_tensors="pt"
    )
    assert model.generate(**chat, max_new_tokens=3).shape[1] > chat["input_ids"].shape[1]
    assert "base_model:" in (out / "README.md").read_text()
