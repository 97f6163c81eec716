"""Held-out KL, kept checkpoints and averaged weights with two processes: copies and shards."""

import pytest

from stage2_student.held_out import HeldOut, Measured
from stage2_student.run import train
from stage2_student.watch import Lowest
from tests.stage2_student.processes import in_processes
from tests.stage2_student.test_parallelism import ALONE, TOGETHER, shim, weights
from tests.stage2_student.test_watch import measured
from tests.stage2_student.trainings import CONFIG, load, make_training, write_config

__all__ = ["shim"]  # a fixture
WATCHED = {"steps": 4, "holdout": 0.4, "eval_steps": 2, "eval_rows": 6, "ema_decay": 0.9}


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_measure_and_average_as_one(tmp_path, shim, monkeypatch, parallel):
    """No measurement is followed by a checkpoint, which would gather the shards anew."""
    monkeypatch.setattr(Lowest, "tell", lambda self, _, kl: bool(setattr(self, "kl", kl)))
    path = write_config(tmp_path, CONFIG)
    words = {**WATCHED, "student_config": str(path), "eval_steps": 1}
    alone = make_training(tmp_path, out=str(tmp_path / "alone"), **{**ALONE, **words})
    both = make_training(
        tmp_path, out=str(tmp_path / "both"), parallel=parallel, **{**TOGETHER, **words}
    )
    train(alone)
    in_processes(2, lambda: train(both))
    assert measured(both.out) == pytest.approx(measured(alone.out), rel=1e-5)
    assert len(set(measured(alone.out).values())) == 4
    expected, found = weights(alone.out), weights(both.out)
    for name in expected:
        assert (found[name] - expected[name]).norm() < 1e-3 * expected[name].norm(), name
    assert not any(load(tmp_path / "both")[1].values())


@pytest.mark.parametrize("average", [None, 0.9])
def test_shards_take_the_best_checkpoint(tmp_path, shim, monkeypatch, average):
    kls = [1.0, 2.0]
    monkeypatch.setattr(HeldOut, "measure", lambda *_: Measured(kl=kls.pop(0), ce=1.0))
    words = {**WATCHED, "ema_decay": average}
    both = make_training(tmp_path, parallel="fsdp", **{**TOGETHER, **words})
    in_processes(2, lambda: train(both))
    alone = make_training(tmp_path, out=str(tmp_path / "alone"), **{**ALONE, **words})
    train(alone)
    expected, found = weights(alone.out), weights(both.out)
    for name in expected:
        assert (found[name] - expected[name]).norm() < 1e-3 * expected[name].norm(), name
