import json
import shutil

import pytest
import torch

from schemas.dump_folder import open_dump
from schemas.errors import ConfigError, DamagedError, MismatchError, ModelError
from stage2_student.student import open_student, reopen_student
from tests.stage2_student.trainings import (
    CONFIG,
    VOCABULARY,
    make_dump,
    make_training,
    save_student,
    write_config,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dump, and beside it a checkpoint of four layers with the dump's tokenizer."""
    path = tmp_path_factory.mktemp("students")
    make_dump(path / "dump")
    save_student(path / "checkpoint", num_hidden_layers=4)
    return path


def opened(folder, **given):
    return open_student(make_training(folder, **given), open_dump(folder / "dump"))


def test_a_checkpoint_keeps_its_weights_tokenizer_and_template(folder):
    student = opened(folder, student=str(folder / "checkpoint"))
    assert student.model.dtype == torch.float32
    assert student.model.config.num_hidden_layers == 4
    assert student.tokenizer.chat_template is not None
    assert (student.source.name, student.vocabulary) == ("checkpoint", VOCABULARY)


def test_layers_are_carved(folder):
    whole = opened(folder, student=str(folder / "checkpoint"))
    carved = opened(folder, student=str(folder / "checkpoint"), student_layers=[0, 3])
    assert len(carved.model.model.layers) == 2
    found = carved.model.model.layers[1].mlp.up_proj.weight
    assert torch.equal(found, whole.model.model.layers[3].mlp.up_proj.weight)
    assert carved.source.name == "checkpoint"


def test_a_student_from_scratch_is_the_same_for_the_same_seed(folder):
    first, again, other = (opened(folder, seed=seed) for seed in (1, 1, 2))
    left, right, third = (s.model.lm_head.weight for s in (first, again, other))
    assert torch.equal(left, right) and not torch.equal(left, third)
    assert first.source is None


def test_a_student_from_scratch_takes_the_dumps_tokenizer_but_not_its_template(folder):
    student = opened(folder)
    assert student.tokenizer.chat_template is None
    assert (student.tokenizer.bos_token, student.tokenizer.eos_token) == ("<s>", "<|im_end|>")
    assert student.tokenizer("a river")["input_ids"]
    assert student.model.config.eos_token_id == 2
    template = opened(folder, dump_chat_template=True).tokenizer.chat_template
    assert "im_start" in template


def test_code_named_in_the_dumps_tokenizer_is_not_looked_at(folder, tmp_path):
    shutil.copytree(folder / "dump", tmp_path / "dump")
    path = tmp_path / "dump" / "tokenizer" / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))
    (tmp_path / "dump" / "tokenizer" / "evil.py").write_text("raise SystemExit('ran')\n")
    assert opened(tmp_path).tokenizer("a")["input_ids"]


def test_another_tokenizer_is_refused_with_both_fingerprints(folder, tmp_path):
    from tests.tiny import tiny_tokenizer

    shutil.copytree(folder / "checkpoint", tmp_path / "checkpoint")
    tiny_tokenizer(300).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(MismatchError) as caught:
        opened(folder, student=str(tmp_path / "checkpoint"))
    fingerprint = open_dump(folder / "dump").manifest.tokenizer.fingerprint
    assert fingerprint in str(caught.value)
    assert str(caught.value).count("sha256:") == 2


def test_a_checkpoint_without_tokenizer_takes_the_dumps(folder, tmp_path):
    shutil.copytree(folder / "checkpoint", tmp_path / "checkpoint")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "checkpoint" / name).unlink()
    student = opened(folder, student=str(tmp_path / "checkpoint"))
    assert student.tokenizer.eos_token == "<|im_end|>"


def test_a_vocabulary_smaller_than_the_dumps_is_refused(folder, tmp_path):
    path = write_config(tmp_path, CONFIG + "vocab_size: 200\n")
    with pytest.raises(ModelError, match=r"has 200 entries, and ids in .* go up to 328"):
        opened(folder, student_config=str(path))


def test_a_wider_head_than_the_teachers_is_fine(folder, tmp_path):
    path = write_config(tmp_path, CONFIG + "vocab_size: 512\n")
    assert opened(folder, student_config=str(path)).vocabulary == 512


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model_type: lama\n", "Did you mean llama?"),
        ("hidden_size: 3\n", "no model_type"),
        (CONFIG + "hiden_size: 32\n", "Did you mean hidden_size?"),
        ("just words\n", "no keys with values"),
        ("a: [\n", "neither JSON nor YAML"),
        (CONFIG.replace("heads: 4", "heads: 5"), "multiple of the number of attention heads"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(folder, tmp_path, text, found):
    path = write_config(tmp_path, text)
    with pytest.raises((ModelError, ConfigError)) as caught:
        opened(folder, student_config=str(path))
    assert found in str(caught.value) and str(path) in str(caught.value)


def test_a_number_with_an_exponent_is_a_number(folder, tmp_path):
    path = write_config(tmp_path, CONFIG + "rms_norm_eps: 1e-4\n")
    assert opened(folder, student_config=str(path)).model.config.rms_norm_eps == 1e-4


def test_a_config_json_of_a_model_is_taken_as_it_is(folder):
    path = folder / "checkpoint" / "config.json"
    assert opened(folder, student_config=str(path)).model.config.num_hidden_layers == 4


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"student": "checkpoitn"}, "Did you mean"),
        ({"student": "dump"}, "no model folder: it has no config.json; found"),
        ({"student": "student.yaml"}, "is a file"),
        ({"student_config": "stundet.yaml"}, "Did you mean"),
    ],
)
def test_a_wrong_path_names_the_nearest(folder, monkeypatch, given, found):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_config(folder)
    ((name, value),) = given.items()
    with pytest.raises(ModelError) as caught:
        opened(folder, **{name: str(folder / value)})
    assert found in str(caught.value)


def test_a_checkpoint_that_does_not_fill_the_model_is_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder / "checkpoint", tmp_path / "checkpoint")
    path = tmp_path / "checkpoint" / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing keys model\.layers\.1\.mlp\.up_proj"):
        opened(folder, student=str(tmp_path / "checkpoint"))


def test_a_checkpoint_without_weights_is_refused(folder, tmp_path):
    shutil.copytree(folder / "checkpoint", tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "model.safetensors").unlink()
    for given in ({}, {"student_layers": [0]}):
        with pytest.raises(ModelError, match="safetensors"):
            opened(folder, student=str(tmp_path / "checkpoint"), **given)


def test_a_damaged_tokenizer_of_the_dump_is_said_to_be_one(folder, tmp_path):
    shutil.copytree(folder / "dump", tmp_path / "dump")
    (tmp_path / "dump" / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(DamagedError, match="fresh copy"):
        opened(tmp_path)


def test_a_student_reopens_from_its_own_checkpoint(folder):
    student = opened(folder, student=str(folder / "checkpoint"))
    again = reopen_student(folder / "checkpoint", student.source, False)
    assert torch.equal(again.model.lm_head.weight, student.model.lm_head.weight)
