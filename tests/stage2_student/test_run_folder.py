import fcntl
import os

import pytest

from schemas.errors import ConflictError, InputError
from stage2_student.run_folder import (
    _order,
    is_finished,
    locked,
    look_at,
    publish,
    write_run,
)
from stage2_student.settings import TrainSettings


def settings(out, **given):
    return TrainSettings(**{"dump": ["d"], "student": "org/model", "out": str(out), **given})


def begun(out, **given):
    out.mkdir()
    write_run(out, settings(out, **given))
    (out / "checkpoints" / "step-3").mkdir(parents=True)
    return out


def test_an_empty_or_missing_folder_is_begun(tmp_path):
    assert look_at(settings(tmp_path / "missing")) is None
    (tmp_path / ".lock").touch()
    assert look_at(settings(tmp_path)) is None


def test_a_training_without_checkpoint_is_begun_anew(tmp_path):
    write_run(tmp_path, settings(tmp_path))
    assert look_at(settings(tmp_path, steps=7)) is None


def test_a_training_goes_on_only_when_asked_and_the_same(tmp_path):
    out = begun(tmp_path / "out")
    with pytest.raises(ConflictError, match="Give --resume"):
        look_at(settings(out))
    assert look_at(settings(out, resume=True)).name == "step-3"
    with pytest.raises(ConflictError, match="seed: 1 here, 0 there"):
        look_at(settings(out, resume=True, seed=1))


def test_paths_written_otherwise_are_the_same(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    out = begun(tmp_path / "out", student="model")
    assert look_at(settings(out, resume=True, student="./model"))
    with pytest.raises(ConflictError, match="student: org/model here"):
        look_at(settings(out, resume=True))


def test_what_does_not_change_the_numbers_may_change(tmp_path):
    out = begun(tmp_path / "out")
    free = {"dump": ["e"], "log_steps": 3, "keep_checkpoints": 9, "gradient_checkpointing": True}
    assert look_at(settings(out, resume=True, **free))


def test_weights_are_moved_last(tmp_path, monkeypatch):
    (tmp_path / ".finished.part").mkdir()
    (tmp_path / ".finished.part" / "left over").touch()

    def write(folder):
        for name in ("model.safetensors", "config.json", "tokenizer.json"):
            (folder / name).write_text(name)

    moved = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (moved.append(a.name), replace(a, b)))
    publish(tmp_path, write)
    assert moved == ["config.json", "tokenizer.json", "model.safetensors"]
    assert is_finished(tmp_path)
    assert not (tmp_path / ".finished.part").exists()


def test_the_index_of_many_files_comes_after_them(tmp_path):
    names = ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "config.json"]
    paths = sorted((tmp_path / name for name in names), key=_order)
    assert [path.name for path in paths] == [names[2], names[0], names[1]]


def test_an_error_while_writing_leaves_the_folder_unfinished(tmp_path):
    def write(folder):
        (folder / "model.safetensors").touch()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        publish(tmp_path, write)
    assert not is_finished(tmp_path)


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    refused = pytest.raises(ConflictError, match="another process")
    with locked(tmp_path), refused, locked(tmp_path):
        pass
    with (tmp_path / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"), locked(tmp_path / "file" / "out"):
        pass


def test_what_is_published_may_be_read_by_whom_the_folder_may(tmp_path):
    def write(folder):
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "model.safetensors").chmod(0o600)

    publish(tmp_path, write)
    (tmp_path / "ordinary").touch()
    modes = [(tmp_path / name).stat().st_mode for name in ("model.safetensors", "ordinary")]
    assert modes[0] == modes[1]
