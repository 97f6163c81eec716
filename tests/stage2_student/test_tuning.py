"""Adapters and frozen parts, from the training's settings to the folder that it leaves."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from schemas.errors import ConfigError, DamagedError, StoppedError
from stage2_student import adapter
from stage2_student.evaluate import evaluate
from stage2_student.evaluate_settings import EvaluateSettings
from stage2_student.run import train
from tests.stage2_student.trainings import load, make_training, save_student

IDS = torch.arange(4, 24)[None]


@pytest.fixture
def student(tmp_path):
    return save_student(tmp_path / "start")


def tuning(tmp_path, student, out="out", **given):
    words = {"student": str(student), "lora_rank": 4, **given}
    return make_training(tmp_path, out=str(tmp_path / out), **words)


def log(out):
    return [json.loads(line) for line in (Path(out) / "train_log.jsonl").read_text().splitlines()]


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def logits(folder):
    kept = (Path(folder) / "adapter_config.json").exists()
    kind = AutoPeftModelForCausalLM if kept else AutoModelForCausalLM
    with torch.no_grad():
        return kind.from_pretrained(folder)(IDS).logits


@pytest.mark.parametrize("dora", [False, True])
def test_adapters_are_merged_into_an_ordinary_student(tmp_path, student, dora):
    done = tuning(tmp_path, student, dora=dora)
    train(done)
    plain = tuning(tmp_path, student, "plain", lora_rank=None)
    train(plain)
    assert log(done.out)[0]["loss"] == pytest.approx(log(plain.out)[0]["loss"], rel=1e-5)
    assert log(done.out)[-1]["loss"] < log(done.out)[0]["loss"]
    model, info = load(Path(done.out))
    assert not any(info.values())
    before, after = weights(student), weights(done.out)
    assert before.keys() == after.keys()
    changed = {name.rpartition(".")[0] for name in before if not before[name].equal(after[name])}
    linear = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert changed == linear - {"lm_head"}


def test_the_kept_adapter_is_the_merged_student(tmp_path, student):
    words = {"dora": True, "lora_targets": ["q_proj", "down_proj"], "lora_alpha": 5}
    kept = tuning(tmp_path, student, "kept", keep_adapter=True, **words)
    train(kept)
    merged = tuning(tmp_path, student, "merged", **words)
    train(merged)
    found = json.loads((tmp_path / "kept" / "adapter_config.json").read_text())
    assert found["base_model_name_or_path"] == str(student)
    assert (found["r"], found["lora_alpha"], found["use_dora"]) == (4, 5, True)
    assert not (tmp_path / "kept" / "model.safetensors").exists()
    assert torch.allclose(logits(kept.out), logits(merged.out), atol=1e-5)
    assert not torch.allclose(logits(kept.out), logits(student), atol=1e-2)
    card = (tmp_path / "kept" / "README.md").read_text()
    assert "library_name: peft" in card
    assert "AutoPeftModelForCausalLM" in card
    assert train(kept).finished_before

    further = make_training(tmp_path, student=kept.out, out=str(tmp_path / "further"), steps=1)
    train(further)
    again = make_training(tmp_path, student=merged.out, out=str(tmp_path / "again"), steps=1)
    train(again)
    assert log(further.out)[0]["loss"] == pytest.approx(log(again.out)[0]["loss"], rel=1e-5)
    carved = make_training(tmp_path, student=kept.out, student_layers=[0], out=str(tmp_path / "c"))
    with pytest.raises(ConfigError, match="holds an adapter, whose layers cannot be carved"):
        train(carved)


def test_an_adapter_is_evaluated_over_its_base(tmp_path, student):
    kept = tuning(tmp_path, student, "kept", keep_adapter=True, holdout=0.3)
    train(kept)
    merged = tuning(tmp_path, student, "merged", holdout=0.3)
    train(merged)
    found = [
        evaluate(EvaluateSettings(student=out, dump=kept.dump, out=str(tmp_path / "e"))).overall
        for out in (kept.out, merged.out)
    ]
    assert found[0].kl == pytest.approx(found[1].kl, rel=1e-5)


def test_a_resumed_training_of_adapters_is_the_uninterrupted_one(tmp_path, student, monkeypatch):
    monkeypatch.setattr("stage2_student.training_figures._SECONDS_BETWEEN", 0)
    whole = tuning(tmp_path, student, "whole", dora=True)
    train(whole)
    cut = tuning(tmp_path, student, "cut", dora=True)

    def stop(progress):
        if progress.stage == "train" and progress.done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        train(cut, stop)
    (checkpoint,) = (tmp_path / "cut" / "checkpoints").glob("step-*")
    assert (checkpoint / "adapter_model.safetensors").stat().st_size < 60_000
    assert not (checkpoint / "model.safetensors").exists()
    train(cut.model_copy(update={"resume": True}))
    assert [line["loss"] for line in log(cut.out)] == [line["loss"] for line in log(whole.out)]
    for name, tensor in weights(whole.out).items():
        assert torch.equal(tensor, weights(cut.out)[name]), name


def test_the_best_adapter_is_taken_from_its_checkpoint(tmp_path, student):
    """A learning rate that ruins the student after its first steps."""
    words = {"holdout": 0.3, "eval_steps": 1, "steps": 4, "learning_rate": 0.3, "log_steps": 1}
    settings = tuning(tmp_path, student, dora=True, schedule="constant", **words)
    train(settings)
    kls = [line["held_out_kl"] for line in log(settings.out)]
    best = min(range(len(kls)), key=kls.__getitem__) + 1
    assert best < 4
    folder = Path(settings.out) / "checkpoints" / f"step-{best}"
    model = AutoModelForCausalLM.from_pretrained(student)
    with torch.no_grad():
        expected = adapter.loaded_over(model, folder)(IDS).logits
    assert torch.allclose(logits(settings.out), expected, atol=1e-4)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("part", ["embeddings", "head"])
def test_a_frozen_part_keeps_its_weights(tmp_path, tied, part):
    student = save_student(tmp_path / "start", tie_word_embeddings=tied)
    settings = make_training(tmp_path, student=str(student), freeze=[part])
    train(settings)
    before, after = weights(student), weights(settings.out)
    same = {name for name in before if before[name].equal(after[name])}
    name = "lm_head.weight" if part == "head" and not tied else "model.embed_tokens.weight"
    assert same == {name}


def test_a_frozen_part_stays_frozen_after_a_resume(tmp_path):
    student = save_student(tmp_path / "start")
    settings = make_training(tmp_path, student=str(student), freeze=["embeddings"], save_steps=2)
    train(settings)
    (tmp_path / "out" / "model.safetensors").unlink()
    train(settings.model_copy(update={"resume": True}))
    name = "model.embed_tokens.weight"
    assert weights(student)[name].equal(weights(settings.out)[name])


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"dora": True}, "dora belongs to adapters; found it without lora_rank"),
        ({"lora_rank": 4, "student_config": "c.yaml"}, "found lora_rank with student_config"),
        ({"lora_rank": 4, "student": "s", "freeze": ["head"]}, "found freeze head beside it"),
        (
            {"lora_rank": 4, "student": "s", "student_layers": [0], "keep_adapter": True},
            "found keep_adapter with student_layers",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_once(tmp_path, given, found):
    with pytest.raises(ConfigError, match=found):
        make_training(tmp_path, **given)


def test_a_target_that_is_no_layer_is_refused_with_those_there_are(tmp_path, student):
    settings = tuning(tmp_path, student, lora_targets=["query"])
    with pytest.raises(ConfigError, match=r"'query'.*has linear layers down_proj, .*, v_proj\."):
        train(settings)


def test_without_peft_its_installation_is_named(tmp_path, student, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'potstill\[lora\]'"):
        adapter._check_peft()


def test_a_checkpoint_without_its_adapter_is_called_damaged(tmp_path, student):
    settings = tuning(tmp_path, student, save_steps=2, keep_adapter=True)
    train(settings)
    (tmp_path / "out" / "adapter_model.safetensors").unlink()
    (tmp_path / "out" / "checkpoints" / "step-2" / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(DamagedError, match=r"adapter_model\.safetensors cannot be read"):
        train(settings.model_copy(update={"resume": True}))
