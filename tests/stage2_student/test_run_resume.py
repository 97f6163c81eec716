"""Trainings that are stopped and go on, and the checkpoints that they go on from."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from schemas.errors import (
    ConflictError,
    MismatchError,
    StoppedError,
)
from stage2_student.run import train
from stage2_student.settings import TrainSettings
from tests.stage2_student.trainings import (
    CONFIG,
    Stop,
    figures,
    load,
    make_training,
    same,
    save_student,
    weights,
    write_config,
)

pytestmark = pytest.mark.usefixtures("tell_every_step")

CURRICULUM = {
    "curriculum": ["until=2 max_tokens=20", "until=4 min_tokens=8"],
    "mix_temperature": 3.0,
}


@pytest.mark.parametrize(
    ("dropout", "data"), [("", {}), ("attention_dropout: 0.1\n", {}), ("", CURRICULUM)]
)
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path, dropout, data):
    """Bit for bit: losses, learning rates, gradient norms, weights; log lines across the cut."""
    path = write_config(tmp_path, CONFIG + dropout)
    words = {**data, "student_config": str(path), "steps": 7, "save_steps": 3, "log_steps": 2}
    words["grad_accumulation"] = 2
    whole = make_training(tmp_path, out=str(tmp_path / "whole"), **words)
    cut = make_training(tmp_path, out=str(tmp_path / "cut"), **words)
    train(whole)
    with pytest.raises(StoppedError, match=r"after step 5 of 7.*--resume"):
        train(cut, Stop(5))
    assert not (Path(cut.out) / "config.json").exists()
    shutil.rmtree(Path(cut.out) / "checkpoints" / "step-5")  # as if it was killed after step 5
    path.unlink()  # nothing but the run folder and the dump is needed
    summary = train(cut.model_copy(update={"resume": True}))
    assert summary.resumed_at == 3
    assert figures(cut.out) == figures(whole.out)
    assert same(weights(cut.out), weights(whole.out))


def test_a_stop_saves_a_checkpoint_and_resume_goes_on_from_there(tmp_path):
    settings = make_training(tmp_path, steps=5)
    with pytest.raises(StoppedError, match="step-2 is kept"):
        train(settings, Stop(2, signal.SIGINT))
    with pytest.raises(ConflictError, match="Give --resume"):
        train(settings)
    with pytest.raises(StoppedError, match="step-4 is kept"):
        train(settings.model_copy(update={"resume": True}), Stop(4))
    assert train(settings.model_copy(update={"resume": True})).resumed_at == 4
    assert [line["step"] for line in figures(settings.out)] == [1, 2, 3, 4, 5]


def test_resume_without_a_checkpoint_begins(tmp_path):
    assert train(make_training(tmp_path, steps=2, resume=True)).resumed_at == 0


def test_other_settings_are_refused_field_by_field(tmp_path):
    settings = make_training(tmp_path, steps=4)
    with pytest.raises(StoppedError):
        train(settings, Stop(2))
    changed = {"resume": True, "learning_rate": 0.5, "schedule": "linear", "save_steps": 1}
    changed |= {"min_tokens": 9, "sources": ["synthetic/a"], "mix_temperature": 2.0}
    with pytest.raises(ConflictError) as caught:
        train(settings.model_copy(update=changed))
    assert "learning_rate: 0.5 here, 0.01 there" in str(caught.value)
    assert "schedule: linear here, cosine there" in str(caught.value)
    assert "min_tokens: 9 here, none there" in str(caught.value)
    assert "sources: ['synthetic/a'] here, [] there" in str(caught.value)
    assert "mix_temperature: 2.0 here, none there" in str(caught.value)
    assert "save_steps" not in str(caught.value)


def test_other_rows_of_a_step_are_refused(tmp_path):
    settings = make_training(tmp_path, steps=4)
    with pytest.raises(StoppedError):
        train(settings, Stop(2))
    with pytest.raises(MismatchError, match="rows_per_step"):
        train(settings.model_copy(update={"resume": True, "batch_size": 3}))
    same_rows = {"resume": True, "batch_size": 1, "grad_accumulation": 2}
    assert train(settings.model_copy(update=same_rows)).steps == 4


def test_a_finished_student_is_left_alone(tmp_path):
    settings = make_training(tmp_path, steps=2)
    first = train(settings)
    before = weights(settings.out)
    again = train(settings)
    assert again.finished_before and again.steps == first.steps and again.loss == first.loss
    assert same(weights(settings.out), before)
    with pytest.raises(ConflictError, match="steps: 3 here, 2 there"):
        train(settings.model_copy(update={"steps": 3}))


def test_run_yaml_runs_again_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_training(tmp_path)
    settings = make_training(
        tmp_path, dump=["dump"], student_config="student.yaml", out="first", steps=2
    )
    train(settings)
    monkeypatch.chdir("/")
    words = yaml.safe_load((tmp_path / "first" / "run.yaml").read_text())
    assert train(TrainSettings(**words)).finished_before
    again = TrainSettings(**{**words, "out": str(tmp_path / "again")})
    train(again)
    assert same(weights(tmp_path / "again"), weights(tmp_path / "first"))


def test_checkpoints_are_bounded_and_load_as_models(tmp_path):
    settings = make_training(tmp_path, steps=6, save_steps=1, keep_checkpoints=2)
    train(settings)
    folder = Path(settings.out) / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["step-4", "step-5"]
    _, info = load(folder / "step-5")
    assert not any(info.values())
    assert not list(folder.rglob("training_args.bin"))


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"vllm", "stage1_teacher", "ray"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
import json
from stage2_student.run import train
from stage2_student.settings import TrainSettings
summary = train(TrainSettings(**json.loads(sys.argv[1])))
assert "vllm" not in sys.modules
print(summary.steps)
"""


def test_neither_the_teacher_nor_its_engine_is_needed(tmp_path):
    """The student was carved before; then the teacher is gone, and vLLM cannot be imported."""
    teacher = save_student(tmp_path / "teacher", num_hidden_layers=2)
    settings = make_training(tmp_path, student=str(teacher), student_layers=[0], steps=3)
    with pytest.raises(StoppedError):
        train(settings, Stop(1))
    shutil.rmtree(teacher)
    words = {**settings.model_dump(mode="json"), "resume": True}
    found = subprocess.run(
        [sys.executable, "-c", BLOCKED, json.dumps(words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "HF_HUB_OFFLINE": "1"},
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "3"
