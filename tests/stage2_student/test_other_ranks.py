"""One of two processes fails or dies; the other one stops, and says why."""

import os
import re

import pytest
import torch

from schemas.errors import ConfigError, InputError, ModelError, TemporaryError
from stage2_student.other_ranks import clear_reasons, shared_reasons
from stage2_student.run import train
from stage2_student.trainer import DistillationTrainer
from tests.stage2_student.processes import in_processes
from tests.stage2_student.trainings import make_training

TOGETHER = {"batch_size": 2, "steps": 6, "packing": False}


def at_step(step, act):
    """A `compute_loss` in which the second process does something at a step (from 0)."""
    original = DistillationTrainer.compute_loss

    def compute_loss(self, *args, **words):
        if os.environ["RANK"] == "1" and self.state.global_step == step:
            act(self)
        return original(self, *args, **words)

    return compute_loss


def test_a_process_that_is_killed_stops_the_other_with_advice(tmp_path, monkeypatch):
    settings = make_training(tmp_path, **TOGETHER)
    monkeypatch.setattr(DistillationTrainer, "compute_loss", at_step(2, lambda _: os._exit(0)))

    def work():
        with pytest.raises(TemporaryError, match=r"another of the 2 processes is gone .*--resume"):
            train(settings)

    in_processes(2, work)


def test_a_process_that_fails_tells_the_other_why(tmp_path, monkeypatch):
    settings = make_training(tmp_path, **TOGETHER)

    def out_of_memory(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(DistillationTrainer, "compute_loss", at_step(2, out_of_memory))

    def work():
        own = os.environ["RANK"] == "1"
        words = "out of memory: CUDA out of memory.*--batch-size"
        words = words if own else f"process 1 of 2 stopped, and this one with it: {words}"
        with pytest.raises(ConfigError if own else InputError, match=words):
            train(settings)

    in_processes(2, work)


def test_a_loss_that_is_no_number_in_one_process_stops_both_and_names_its_samples(
    tmp_path, monkeypatch
):
    settings = make_training(tmp_path, save_steps=1, keep_checkpoints=1, **TOGETHER)

    def spoil(trainer):
        trainer._spread_if_not_finite = lambda inputs, total: type(trainer)._spread_if_not_finite(
            trainer, inputs, total * torch.inf
        )

    monkeypatch.setattr(DistillationTrainer, "compute_loss", at_step(3, spoil))

    def work():
        with pytest.raises(ModelError, match=r"not a finite number at step 4, on s0-\d+"):
            train(settings)

    in_processes(2, work)
    checkpoints = sorted(path.name for path in (tmp_path / "out" / "checkpoints").iterdir())
    assert checkpoints == ["step-2", "step-3"]  # the last one was not proven by a step after it


CLOSED = RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1")


def told(tmp_path, monkeypatch, of_first, of_second):
    """What the second process raises after the first one failed."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, error in enumerate((of_first, of_second)):
        monkeypatch.setenv("RANK", str(rank))
        with pytest.raises(Exception) as caught, shared_reasons(tmp_path):
            raise error
    return caught.value


@pytest.mark.parametrize(
    ("first", "kind", "words"),
    [
        (ConfigError("too little memory"), InputError, "process 0 of 2 .*: too little memory"),
        (TemporaryError("the store is down"), TemporaryError, "process 0 of 2 .*: the store is d"),
        (RuntimeError("a bug"), InputError, "process 0 of 2 .*: RuntimeError: a bug"),
        (CLOSED, TemporaryError, "gone without a word"),
    ],
)
def test_reasons_are_repeated_by_kind(tmp_path, monkeypatch, first, kind, words):
    found = told(tmp_path, monkeypatch, first, CLOSED)
    assert type(found) is kind and re.search(words, str(found))


def test_an_error_of_its_own_stays_its_own(tmp_path, monkeypatch):
    own = RuntimeError("another bug")
    assert told(tmp_path, monkeypatch, ConfigError("too little memory"), own) is own


def test_reasons_of_an_earlier_run_are_cleared(tmp_path, monkeypatch):
    told(tmp_path, monkeypatch, ConfigError("too little memory"), CLOSED)
    clear_reasons(tmp_path)
    assert not list(tmp_path.iterdir())
