"""ZeRO stage 2 against one process. DeepSpeed is not among our packages, nor in the CI."""

import os
from importlib.util import find_spec

import pytest
import torch

from schemas.errors import ConfigError, ModelError
from stage2_student.run import train
from stage2_student.trainer import DistillationTrainer
from stage2_student.zero2 import check_deepspeed
from tests.stage2_student.processes import in_processes
from tests.stage2_student.test_parallelism import (
    ACCUMULATING,
    ALONE,
    TOGETHER,
    assert_same_training,
    log,
    wrapped,  # noqa: F401
)
from tests.stage2_student.trainings import CONFIG, load, make_training, save_student, write_config

needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="no DeepSpeed here")


@pytest.fixture(autouse=True)
def cpu(monkeypatch):
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")


@pytest.fixture
def start(tmp_path):
    """Settings of trainings alike, by the name of their folders."""
    path = write_config(tmp_path, CONFIG + "tie_word_embeddings: true\n")

    def make(out, given, **words):
        if "student" not in words:
            words["student_config"] = str(path)
        return make_training(tmp_path, out=str(tmp_path / out), **{**given, **words})

    return make


@needs_deepspeed
@pytest.mark.parametrize("words", [{}, {"gradient_checkpointing": True, "ema_decay": 0.5}])
@pytest.mark.parametrize("given", [TOGETHER, ACCUMULATING], ids=["together", "accumulating"])
def test_sharded_gradients_train_as_one(start, wrapped, given, words):  # noqa: F811
    alone, both = start("alone", ALONE, **words), start("both", given, parallel="zero2", **words)

    def work():
        train(both)
        assert type(wrapped[0]).__name__ == "DeepSpeedEngine"
        assert wrapped[0].zero_optimization_stage() == 2

    in_processes(2, work)
    train(alone)
    assert_same_training(both.out, alone.out)
    assert not any(load(both.out)[1].values())


@needs_deepspeed
def test_adapters_train_as_one(start, tmp_path):
    words = {"student": str(save_student(tmp_path / "start")), "lora_rank": 4, "dora": True}
    alone = start("alone", ALONE, **words)
    both = start("both", TOGETHER, parallel="zero2", **words)
    in_processes(2, lambda: train(both))
    train(alone)
    assert_same_training(both.out, alone.out)


@needs_deepspeed
def test_bfloat16_keeps_weights_and_sums_in_float32(start):
    both = start("both", TOGETHER, parallel="zero2", dtype="bfloat16", save_steps=2)
    copies, alone = start("copies", TOGETHER, dtype="bfloat16"), start("alone", ALONE)
    for settings in (both, copies):
        in_processes(2, lambda settings=settings: train(settings))
    train(alone)
    found, exact = [[line["loss"] for line in log(run.out)] for run in (both, alone)]
    assert found == pytest.approx(exact, rel=5e-3)
    assert found != pytest.approx(exact, rel=1e-6)
    assert_same_training(both.out, copies.out, tolerance=1e-3)


@needs_deepspeed
@pytest.mark.parametrize(
    ("before", "after"), [("alone", "zero2"), ("zero2", "alone"), ("zero2", "zero2")]
)
def test_a_training_goes_on_in_another_way(start, before, after):
    def run(out, way, **more):
        given = ALONE if way == "alone" else {**TOGETHER, "parallel": way}
        settings = start(out, given, save_steps=2, **more)
        in_processes(1 if way == "alone" else 2, lambda: train(settings))
        return settings.out

    whole, cut = run("whole", "alone"), run("cut", before)
    os.remove(f"{cut}/model.safetensors")
    run("cut", after, resume=True)
    assert_same_training(cut, whole)


@needs_deepspeed
@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_what_is_no_number_never_reaches_the_weights(start, monkeypatch, broken):
    both = start("both", TOGETHER, parallel="zero2")
    original = DistillationTrainer.compute_loss

    def compute_loss(self, model, *args, **words):
        loss = original(self, model, *args, **words)
        if self.state.global_step == 1 and os.environ["RANK"] == "1":
            if broken == "loss":
                loss = loss + self._spread_if_not_finite(args[0], loss * torch.nan)
            else:
                loss.register_hook(lambda gradient: gradient * torch.nan)
        return loss

    monkeypatch.setattr(DistillationTrainer, "compute_loss", compute_loss)

    def weights(model):
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    kept = {}
    step_done = DistillationTrainer.step_done

    def remember(self):
        step_done(self)
        kept["model"], kept["weights"] = self.model, weights(self.model)

    monkeypatch.setattr(DistillationTrainer, "step_done", remember)

    def work():
        with pytest.raises(ModelError, match=f"the {broken} is not a finite number at step 2"):
            train(both)
        assert torch.equal(weights(kept["model"]), kept["weights"])

    in_processes(2, work)


def test_without_deepspeed_the_way_out_is_shown(monkeypatch):
    monkeypatch.setattr("stage2_student.zero2.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install deepspeed.*--parallel fsdp"):
        check_deepspeed(asked=True)
    check_deepspeed(asked=False)


def test_one_process_alone_has_nothing_to_share(monkeypatch):
    monkeypatch.setattr("stage2_student.zero2.find_spec", lambda name: object())
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match="this is the only one"):
        check_deepspeed(asked=True)
    monkeypatch.setenv("RANK", "0")
    check_deepspeed(asked=True)


@pytest.mark.parametrize("asked", [False, True])
def test_a_configuration_of_accelerate_is_refused(monkeypatch, asked):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ConfigError, match=r"train-gpus train\.yaml --parallel zero2"):
        check_deepspeed(asked)
