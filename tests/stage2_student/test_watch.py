"""The held-out KL on the way: what it is, which checkpoint it keeps, when it stops."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from schemas.dump_folder import open_dumps
from schemas.errors import ConfigError, DamagedError, StoppedError
from stage2_student.evaluate import evaluate
from stage2_student.evaluate_settings import EvaluateSettings
from stage2_student.held_out import HeldOut, Measured
from stage2_student.run import train
from stage2_student.student import open_student
from stage2_student.watch import Lowest
from tests.stage2_student.trainings import Stop, load, make_training

WATCHED = {"holdout": 0.4, "eval_steps": 2, "eval_rows": 64, "batch_size": 4}


@pytest.fixture(autouse=True)
def tell_every_step(monkeypatch):
    monkeypatch.setattr("stage2_student.training_figures._SECONDS_BETWEEN", 0)


@pytest.fixture
def scripted(monkeypatch):
    """Held-out KLs come out of a list instead."""
    kls: list[float] = []
    monkeypatch.setattr(HeldOut, "measure", lambda *_: Measured(kl=kls.pop(0), ce=1.0))
    return kls


def measured(out):
    lines = [json.loads(line) for line in (Path(out) / "train_log.jsonl").read_text().splitlines()]
    return {line["step"]: line["held_out_kl"] for line in lines if "held_out_kl" in line}


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_the_lowest_is_remembered_and_patience_runs_out():
    lowest = Lowest(patience=2)
    told = [lowest.tell(step, kl) for step, kl in enumerate([3.0, 2.0, 2.5, 1.0, 1.0], 1)]
    assert told == [True, True, False, True, False]
    assert (lowest.step, lowest.kl, lowest.enough) == (4, 1.0, False)
    again = Lowest(patience=2)
    again.load(json.loads(json.dumps(lowest.state())))
    assert not again.tell(6, 1.5) and again.enough
    assert not Lowest(patience=None, since=9).enough


def test_it_is_the_kl_that_evaluate_finds(tmp_path):
    settings = make_training(tmp_path, steps=3, **WATCHED)
    summary = train(settings)
    found = measured(settings.out)
    assert list(found) == [2, 3]  # every two steps, and the last
    evaluation = evaluate(EvaluateSettings(student=settings.out, dump=settings.dump))
    assert found[3] == pytest.approx(evaluation.overall.kl, rel=1e-5)
    assert (summary.held_out_kl, summary.best_step) == (found[3], 3)
    card = (Path(settings.out) / "README.md").read_text()
    assert "of step 3, where the KL on held-out rows was lowest" in card


def test_always_the_same_rows_are_measured_whatever_is_at_once(tmp_path):
    found = []
    for name, given in {"a": {}, "b": {"batch_size": 1, "grad_accumulation": 4, "seed": 5}}.items():
        words = {**WATCHED, "eval_rows": 3, "learning_rate": 1e-9, **given}
        settings = make_training(tmp_path, out=str(tmp_path / name), steps=2, **words)
        train(settings.model_copy(update={"seed": 0}))
        found.append(measured(settings.out)[2])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_the_checkpoint_of_the_lowest_is_kept_and_becomes_the_student(tmp_path, scripted):
    scripted += [3.0, 1.0, 2.0, 2.5, 2.2]
    settings = make_training(tmp_path, steps=10, save_steps=1, keep_checkpoints=1, **WATCHED)
    summary = train(settings)
    assert (summary.held_out_kl, summary.best_step, summary.steps) == (1.0, 4, 10)
    kept = Path(settings.out) / "checkpoints"
    assert sorted(path.name for path in kept.iterdir()) == ["step-4", "step-9"]
    assert same(weights(settings.out), weights(kept / "step-4"))
    assert not same(weights(settings.out), weights(kept / "step-9"))


def test_it_stops_early_when_it_gets_no_better(tmp_path, scripted):
    scripted += [3.0, 1.0, 2.0, 2.5, 0.1]
    seen = []
    settings = make_training(tmp_path, steps=20, patience=2, **WATCHED)
    summary = train(settings, seen.append)
    assert (summary.steps, summary.best_step) == (8, 4)
    told = [progress.message for progress in seen if "held-out KL" in progress.message]
    assert told[1].endswith("held-out KL 1.0000, the lowest so far")
    assert told[-1].endswith("was 1.0000 at step 4; stopped early, 2 measurements after it")
    assert train(settings).finished_before
    assert same(weights(settings.out), weights(Path(settings.out) / "checkpoints" / "step-4"))


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_resumed_training_measures_and_chooses_as_the_uninterrupted_one(tmp_path, average):
    words = {**WATCHED, "steps": 6, "ema_decay": average, "log_steps": 1}
    whole = make_training(tmp_path, out=str(tmp_path / "whole"), **words)
    cut = make_training(tmp_path, out=str(tmp_path / "cut"), **words)
    train(whole)
    with pytest.raises(StoppedError, match="after step 3 of 6"):
        train(cut, Stop(3, signal.SIGTERM))
    shutil.rmtree(Path(cut.out) / "checkpoints" / "step-3")
    assert train(cut.model_copy(update={"resume": True})).resumed_at == 2
    assert measured(cut.out) == measured(whole.out)
    assert same(weights(cut.out), weights(whole.out))


def test_the_student_is_the_moving_average_of_the_weights(tmp_path):
    words = {"schedule": "constant", "save_steps": 1, "keep_checkpoints": 9}
    settings = make_training(tmp_path, steps=4, ema_decay=0.5, **words)
    plain = make_training(tmp_path, steps=5, out=str(tmp_path / "plain"), **words)
    train(plain)
    train(settings)
    steps = [weights(Path(plain.out) / "checkpoints" / f"step-{step}") for step in (1, 2, 3, 4)]
    start = open_student(settings, open_dumps(settings.dump)[0]).model.state_dict()
    for name, found in weights(settings.out).items():
        average = start[name].double()
        for step, current in enumerate(steps, 1):
            decay = min(0.5, (1 + step) / (10 + step))
            average = decay * average + (1 - decay) * current[name].double()
        assert torch.allclose(found.double(), average, atol=1e-6), name
    assert not any(load(Path(settings.out))[1].values())
    card = (Path(settings.out) / "README.md").read_text()
    assert "moving average with decay 0.5" in card


def test_a_checkpoint_without_its_average_is_named(tmp_path):
    settings = make_training(tmp_path, steps=3, ema_decay=0.5)
    with pytest.raises(StoppedError):
        train(settings, Stop(2, signal.SIGTERM))
    shutil.rmtree(Path(settings.out) / "checkpoints" / "step-2" / "average")
    with pytest.raises(DamagedError, match=r"average\.safetensors cannot be read"):
        train(settings.model_copy(update={"resume": True}))


def test_nothing_to_measure_on_is_refused(tmp_path):
    for given, words in (
        ({"eval_steps": 5}, "holdout is 0"),
        ({"patience": 2, "holdout": 0.1}, "none is made"),
    ):
        with pytest.raises(ConfigError, match=words):
            make_training(tmp_path, **given)


def test_run_yaml_holds_what_was_asked_for(tmp_path):
    settings = make_training(tmp_path, steps=2, patience=3, **WATCHED)
    train(settings)
    words = yaml.safe_load((Path(settings.out) / "run.yaml").read_text())
    assert (words["eval_steps"], words["patience"]) == (2, 3)
