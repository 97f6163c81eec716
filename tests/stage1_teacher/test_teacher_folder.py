import hashlib
from pathlib import Path

import pytest

from schemas.errors import ModelError
from stage1_teacher.teacher_folder import (
    locate_teacher,
    model_license,
    weight_files,
    weights_fingerprint,
)
from tests.tiny import tiny_teacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    return tiny_teacher(tmp_path_factory.mktemp("models") / "tiny-llama", vocabulary=400)


@pytest.fixture(autouse=True)
def _offline(monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_fingerprint_follows_the_weights(tmp_path: Path) -> None:
    for name, content in (("b.safetensors", b"2"), ("a.safetensors", b"1"), ("x.txt", b"3")):
        (tmp_path / name).write_bytes(content)
    before = weights_fingerprint(tmp_path)
    assert before == "sha256:" + hashlib.sha256(b"12").hexdigest()
    (tmp_path / "a.safetensors").write_bytes(b"0")
    assert weights_fingerprint(tmp_path) != before


@pytest.mark.parametrize(
    ("front", "license"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("license: other\nlicense_name: llama3", "llama3"),
        ("tags: [x]", None),
    ],
)
def test_license_of_the_model_card(tmp_path: Path, front: str, license: str | None) -> None:
    assert model_license(tmp_path) is None
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n# A model\n")
    assert model_license(tmp_path) == license


def test_a_misspelt_folder_is_answered_with_the_nearest(teacher: Path) -> None:
    wrong = teacher.parent / "tiny-lama"
    with pytest.raises(ModelError, match=f"no teacher at {wrong}.*Did you mean {teacher}"):
        locate_teacher(wrong)
    with pytest.raises(ModelError, match="Did you mean"):
        locate_teacher(teacher.parent.parent / (teacher.parent.name + "x") / "tiny-llama")


def test_a_misspelt_name_is_answered_with_the_nearest(teacher: Path, monkeypatch) -> None:
    monkeypatch.chdir(teacher.parent)
    with pytest.raises(ModelError, match=r"no teacher tinyllama: .*hub.*Did you mean tiny-llama"):
        locate_teacher("tinyllama")
    with pytest.raises(ModelError, match=r"no teacher nobody/none at revision v1"):
        locate_teacher("nobody/none", revision="v1")


def test_a_folder_without_a_model_says_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ModelError, match=r"no config.json; found notes.txt"):
        locate_teacher(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="no weights"):
        weight_files(tmp_path)


def test_a_file_is_no_teacher(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="potstill export-gguf"):
        locate_teacher(path)
    with pytest.raises(ModelError, match="is a file"):
        locate_teacher(path.rename(tmp_path / "model.bin"))
