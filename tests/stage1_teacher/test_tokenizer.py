"""Loading, the identity of a tokenizer, BOS once, and the files that a dump takes."""

import json

import pytest

from schemas.errors import InputError, ModelError
from schemas.tokenizer_fingerprint import folder_fingerprint, tokenizer_fingerprint
from stage1_teacher.tokenizer import TeacherTokenizer, load_tokenizer
from tests.tiny import CHAT_TEMPLATE, tiny_tokenizer


@pytest.fixture
def folder(tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def edited(folder, change):
    content = json.loads((folder / "tokenizer.json").read_text())
    change(content)
    return tokenizer_fingerprint(json.dumps(content))


def test_the_fingerprint_survives_saving_and_loading(folder, tmp_path):
    first = load_tokenizer(folder)
    assert first.fingerprint == folder_fingerprint(folder)
    for name, data in first.files().items():
        (tmp_path / name).write_bytes(data)
    second = load_tokenizer(tmp_path)
    assert second.fingerprint == first.fingerprint == folder_fingerprint(tmp_path)
    assert second.files() == first.files()


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(truncation={"max_length": 3}, padding={"x": 1}, version="2.0"),
        lambda c: c.update(post_processor=None, decoder=None),
        lambda c: c["model"].update(merges=[" ".join(pair) for pair in c["model"]["merges"]]),
        lambda c: c["model"].update(vocab=dict(sorted(c["model"]["vocab"].items()))),
        lambda c: c["added_tokens"].reverse(),
        lambda c: c["pre_tokenizer"].update(trim_offsets=not c["pre_tokenizer"]["trim_offsets"]),
        lambda c: c["model"].pop("unk_token", None),
    ],
    ids=["padding", "post-processor", "merges", "order", "added order", "offsets", "unset"],
)
def test_what_does_not_decide_ids_does_not_count(folder, change):
    assert edited(folder, change) == folder_fingerprint(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["model"]["merges"].pop(),
        lambda c: c["model"]["merges"].reverse(),
        lambda c: c["model"]["vocab"].update({"new": 999}),
        lambda c: c["added_tokens"][0].update(content="<other>"),
        lambda c: c["added_tokens"][0].update(lstrip=True),
        lambda c: c.update(normalizer={"type": "NFC"}),
        lambda c: c["pre_tokenizer"].update(add_prefix_space=True),
    ],
    ids=["merges", "merge order", "vocabulary", "added", "strip", "normaliser", "pre-tokenizer"],
)
def test_what_decides_ids_counts(folder, change):
    assert edited(folder, change) != folder_fingerprint(folder)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"model": {"merges": 3}}', b"\xff"])
def test_a_broken_tokenizer_json(text):
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read"):
        tokenizer_fingerprint(text)


def test_bos_comes_once():
    tokenizer = TeacherTokenizer(tiny_tokenizer(bos=True))
    plain = tokenizer.encode("a stone", special=True)
    assert (plain.ids[0], plain.head, plain.spans[0]) == (3, 1, (0, 0))
    assert tokenizer.encode("<s>a stone", special=True).ids == plain.ids
    assert tokenizer.encode("a stone", special=False).ids == plain.ids[1:]
    assert tokenizer.encode("<s><s>a", special=False).ids.count(3) == 2
    assert TeacherTokenizer(tiny_tokenizer()).encode("a stone", special=True).head == 0


def test_the_manifest_names_special_tokens_and_hashes_the_template():
    tokenizer = TeacherTokenizer(tiny_tokenizer())
    entry = tokenizer.manifest(head_size=512)
    assert entry.special_tokens == {
        "bos_token": 3, "eos_token": 2, "pad_token": 2, "unk_token": 0,
    }  # fmt: skip
    assert entry.head_size == 512
    assert entry.size < 512
    assert entry.chat_template is not None
    assert TeacherTokenizer(tiny_tokenizer(chat_template=None)).manifest(9).chat_template is None


def test_files_hold_neither_code_nor_paths(folder):
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "name_or_path": "/home/me/model", "is_local": True}))
    (folder / "tokenization_evil.py").write_text("raise SystemExit")
    tokenizer = load_tokenizer(folder)
    tokenizer._tokenizer.init_kwargs["auto_map"] = {"AutoTokenizer": ["tokenization_evil.T", None]}
    files = tokenizer.files()
    assert set(files) <= {
        *("tokenizer.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "chat_template.jinja"),
    }
    assert b"/home/me" not in b"".join(files.values())
    assert b"auto_map" not in files["tokenizer_config.json"]
    assert json.loads(files["tokenizer_config.json"])["eos_token"] == "<|im_end|>"
    assert files["chat_template.jinja"].decode() == CHAT_TEMPLATE


def test_a_chat_template_from_a_file(folder, tmp_path):
    path = tmp_path / "own.jinja"
    path.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    tokenizer = load_tokenizer(folder, chat_template=str(path))
    assert tokenizer.chat([{"role": "user", "content": "a"}]) == "a"
    assert tokenizer.files()["chat_template.jinja"].decode() == path.read_text()
    assert load_tokenizer(folder, chat_template="none").chat_template is None


def test_a_template_that_writes_the_date_gets_the_same_one_every_day():
    template = "Today is {{ strftime_now('%d %b %Y') }}.{% for m in messages %}{% endfor %}"
    tokenizer = TeacherTokenizer(tiny_tokenizer(chat_template=template))
    assert tokenizer.chat([{"role": "user", "content": "a"}]) == "Today is 26 Jul 2024."


def test_bad_templates(folder, tmp_path):
    with pytest.raises(InputError, match=r"missing\.jinja cannot be read"):
        load_tokenizer(folder, chat_template=str(tmp_path / "missing.jinja"))
    (tmp_path / "bad.jinja").write_text("a\n{% for %}")
    with pytest.raises(InputError, match=r"bad.jinja, line 2"):
        load_tokenizer(folder, chat_template=str(tmp_path / "bad.jinja"))


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(ModelError, match="no tokenizer can be loaded from"):
        load_tokenizer(tmp_path)
    with pytest.raises(ModelError, match=r"has no tokenizer\.json"):
        folder_fingerprint(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match="no tokenizer can be loaded from"):
        load_tokenizer(tmp_path)
