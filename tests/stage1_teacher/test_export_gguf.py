"""GGUF files become ordinary model folders, with the tokenizer of the teacher's training."""

import json
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from schemas.errors import ConflictError, ModelError
from schemas.tokenizer_fingerprint import folder_fingerprint
from stage1_teacher.export_gguf import export_gguf
from stage1_teacher.gguf_header import read_header
from stage1_teacher.gguf_tokenizer import restore
from stage1_teacher.tokenizer import load_tokenizer
from tests.tiny import CHAT_TEMPLATE, tiny_tokenizer

HIDDEN, HEADS, SIZE = 32, 4, 320


def write_gguf(path: Path, *, architecture="llama", tensors=True, pre="smollm", bos=False) -> Path:
    """A two-layer llama in float32 with the tests' byte-level vocabulary."""
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name("tiny")
    writer.add_license("apache-2.0")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    size = _add_vocabulary(writer, pre, bos)
    writer.add_vocab_size(size)
    for name, shape in _shapes(size).items() if tensors else ():
        values = np.random.default_rng(len(name)).standard_normal(shape, np.float32) / 8
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer, pre, bos):
    model = json.loads(tiny_tokenizer(SIZE).backend_tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 4 + [1] * (len(tokens) - 4))
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(3)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(bos)
    writer.add_chat_template(CHAT_TEMPLATE)
    return len(tokens)


def _shapes(size):
    shapes = {"token_embd.weight": (size, HIDDEN), "output_norm.weight": (HIDDEN,)}
    for layer in range(2):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes[f"blk.{layer}.{name}.weight"] = (HIDDEN, HIDDEN)
        shapes[f"blk.{layer}.ffn_down.weight"] = (HIDDEN, 64)
        for name in ("ffn_gate", "ffn_up"):
            shapes[f"blk.{layer}.{name}.weight"] = (64, HIDDEN)
        for name in ("attn_norm", "ffn_norm"):
            shapes[f"blk.{layer}.{name}.weight"] = (HIDDEN,)
    return shapes


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    messages = []
    export_gguf(
        write_gguf(folder / "tiny.gguf", bos=True),
        folder / "model",
        lambda progress: messages.append(progress.message),
    )
    return folder, messages


def test_an_exported_folder_is_ordinary(exported):
    import torch
    from transformers import AutoModelForCausalLM

    folder, messages = exported
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    assert model.dtype == torch.bfloat16
    expected = np.random.default_rng(len("output_norm.weight")).standard_normal(HIDDEN, np.float32)
    stored = model.model.norm.weight.detach().float().numpy()
    np.testing.assert_allclose(stored, expected / 8, rtol=2**-8)
    config = json.loads((folder / "model/config.json").read_text())
    assert not {"quantization_config", "_name_or_path", "_model_name_or_path"} & set(config)
    assert "license: apache-2.0" in (folder / "model/README.md").read_text()
    assert not [message for message in messages if "warning" in message]
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_the_tokenizer_is_the_trained_one(exported):
    folder, _ = exported
    tokenizer = load_tokenizer(folder / "model")
    trained = tiny_tokenizer(SIZE, bos=True)
    text = "The stone shows the river, é"
    assert tokenizer.encode(text, special=True).ids == trained(text).input_ids
    spans = tokenizer.encode("a  12", special=False).spans
    assert spans[-2:] == [(3, 4), (4, 5)]
    assert tokenizer.chat_template == CHAT_TEMPLATE
    config = json.loads((folder / "model/tokenizer_config.json").read_text())
    assert config["model_max_length"] == 128
    assert not {"is_local", "local_files_only", "name_or_path"} & set(config)


def test_an_export_is_not_repeated(exported, monkeypatch):
    folder, _ = exported
    monkeypatch.setattr("stage1_teacher.export_gguf._export", pytest.fail)
    export_gguf(folder / "tiny.gguf", folder / "model")
    (folder / "other").mkdir()
    (folder / "other/notes.txt").write_text("mine")
    with pytest.raises(ConflictError, match=r"no export of tiny\.gguf"):
        export_gguf(folder / "tiny.gguf", folder / "other")


def test_a_broken_export_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stage1_teacher.export_gguf._write_card", full_disk)
    path = write_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(OSError, match="No space left"):
        export_gguf(path, tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.gguf"]


def test_an_unknown_pre_tokenizer_is_said(tmp_path):
    messages = []
    path = write_gguf(tmp_path / "tiny.gguf", pre="mystery")
    export_gguf(path, tmp_path / "model", lambda progress: messages.append(progress.message))
    assert [m for m in messages if "warning" in m and "'mystery'" in m]


def test_bad_files(tmp_path):
    whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
    cases = {
        "text.gguf": (b"hello", "begin with the letters GGUF"),
        "cut.gguf": (whole[:200], "header cannot be read"),
        "version.gguf": (b"GGUF" + struct.pack("<IQQ", 9, 1, 1), "version 9"),
        "cut_weights.gguf": (whole[: len(whole) // 2], "cannot convert"),
    }
    for name, (data, words) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelError, match=words):
            export_gguf(tmp_path / name, tmp_path / "out")
    with pytest.raises(ModelError, match=r"missing\.gguf cannot be read: No such file"):
        export_gguf(tmp_path / "missing.gguf", tmp_path / "out")
    write_gguf(tmp_path / "vocabulary.gguf", tensors=False)
    with pytest.raises(ModelError, match="a vocabulary and no weights"):
        export_gguf(tmp_path / "vocabulary.gguf", tmp_path / "out")
    write_gguf(tmp_path / "odd.gguf", architecture="oddity")
    with pytest.raises(ModelError, match="oddity"):
        export_gguf(tmp_path / "odd.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_header_agrees_with_the_library(tmp_path):
    path = write_gguf(tmp_path / "tiny.gguf")
    reader = gguf.GGUFReader(path)
    plain = {
        name: field.contents()
        for name, field in reader.fields.items()
        if field.types[0] != gguf.GGUFValueType.ARRAY and not name.startswith("GGUF.")
    }
    header = read_header(path)
    assert dict(header.values) == plain
    assert header.tensors == len(reader.tensors)


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("gpt-2", "a  123 it's", ["a", "Ġ", "Ġ123", "Ġit", "'s"]),
        ("smollm", "a  123", ["a", "ĠĠ", "1", "2", "3"]),
        ("llama-bpe", "a 1234 IT'S!\n", ["a", "Ġ", "123", "4", "ĠIT", "'S", "!Ċ"]),
        ("qwen2", "a 12 IT'S!\n", ["a", "Ġ", "1", "2", "ĠIT", "'S", "!Ċ"]),
    ],
)
def test_pre_tokenizers(pre, text, pieces):
    tokenizer = tiny_tokenizer()
    values = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre}
    assert restore(tokenizer, values, None) == ""
    found = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    assert [piece for piece, _ in found] == pieces


@pytest.mark.parametrize("had", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_bos_is_put_as_the_file_says(had, wanted):
    tokenizer = tiny_tokenizer(bos=had)
    values = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.add_bos_token": wanted}
    assert restore(tokenizer, values, 99) == ""
    assert (tokenizer("a").input_ids[0] == 3) == wanted
    assert tokenizer.model_max_length == 99


@pytest.mark.slow
def test_the_real_teacher_knows_the_capital_of_france(real_teacher, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(real_teacher)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.encode(tokenizer.chat(question, generation_prompt=True), special=False).ids
    model = AutoModelForCausalLM.from_pretrained(real_teacher, dtype=torch.float32)
    said = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, len(ids) :]
    assert tokenizer.decode(said.tolist()) == "The capital of France is Paris.<|im_end|>"


@pytest.mark.slow
def test_the_real_tokenizer_splits_digits_and_survives_saving(real_teacher, tmp_path):
    tokenizer = load_tokenizer(real_teacher)
    ids = tokenizer.encode("a  12", special=True).ids
    assert [tokenizer.token(id) for id in ids] == ["a", "ĠĠ", "1", "2"]
    for name, data in tokenizer.files().items():
        (tmp_path / name).write_bytes(data)
    assert folder_fingerprint(tmp_path) == folder_fingerprint(real_teacher)
    text = "Ein Fuß, 漢字, 🙂 and\ttabs.\n"
    assert tokenizer.decode(tokenizer.encode(text, special=True).ids) == text
