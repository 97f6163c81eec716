"""Two processes through gloo against one, at the same rows per step."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from schemas.errors import ConfigError, StoppedError
from stage2_student.fused_head import _BLOCK_ROWS
from stage2_student.run import train
from stage2_student.trainer import DistillationTrainer
from tests.stage2_student.processes import in_processes
from tests.stage2_student.trainings import CONFIG, load, make_training, save_student, write_config

ALONE = {"batch_size": 4, "steps": 3, "packing": False}
TOGETHER = {**ALONE, "batch_size": 2}
ACCUMULATING = {**ALONE, "batch_size": 1, "grad_accumulation": 2}


def log(out):
    return [json.loads(line) for line in (Path(out) / "train_log.jsonl").read_text().splitlines()]


def weights(out):
    return load_file(Path(out) / "model.safetensors")


def assert_same_training(left, right, tolerance=1e-5):
    for found, expected in zip(log(left), log(right), strict=True):
        for name in ("step", "loss", "fkl", "ce", "tokens", "learning_rate", "grad_norm"):
            assert found[name] == pytest.approx(expected[name], rel=tolerance), name
    expected = weights(right)
    found = weights(left)
    assert sorted(found) == sorted(expected)
    for name in expected:
        difference = (found[name].float() - expected[name].float()).norm()
        assert difference < 100 * tolerance * expected[name].float().norm(), name


@pytest.fixture
def shim(monkeypatch):
    """accelerate 1.15 never gives FSDP2 without a GPU; this is what it would do with one."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    original = AcceleratorState.__init__

    def init(self, *args, fsdp_plugin=None, **words):
        original(self, *args, fsdp_plugin=fsdp_plugin, **words)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            self.fsdp_plugin = fsdp_plugin
            self.distributed_type = DistributedType.FSDP
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    monkeypatch.setattr(AcceleratorState, "__init__", init)


@pytest.fixture
def wrapped(monkeypatch):
    """What the model is while it trains, told by every process that asserts on it."""
    seen = []
    original = DistillationTrainer.compute_loss

    def compute_loss(self, model, *args, **words):
        seen.append(model)
        return original(self, model, *args, **words)

    monkeypatch.setattr(DistillationTrainer, "compute_loss", compute_loss)
    return seen


@pytest.mark.parametrize("given", [TOGETHER, ACCUMULATING], ids=["together", "accumulating"])
def test_two_processes_train_as_one(tmp_path, wrapped, given):
    alone = make_training(tmp_path, out=str(tmp_path / "alone"), **ALONE)
    both = make_training(tmp_path, out=str(tmp_path / "both"), **given)

    def work():
        train(both)
        assert isinstance(wrapped[0], torch.nn.parallel.DistributedDataParallel)

    in_processes(2, work)
    train(alone)
    assert_same_training(both.out, alone.out)


@pytest.mark.parametrize("tied", ["false", "true"])
def test_shards_train_as_one(tmp_path, shim, wrapped, tied):
    from torch.distributed.fsdp import FSDPModule

    path = write_config(tmp_path, CONFIG + f"tie_word_embeddings: {tied}\n")
    words = {"student_config": str(path)}
    alone = make_training(tmp_path, out=str(tmp_path / "alone"), **ALONE, **words)
    both = make_training(
        tmp_path, out=str(tmp_path / "both"), parallel="fsdp", **ACCUMULATING, **words
    )

    def work():
        train(both)
        assert isinstance(wrapped[0], FSDPModule)

    in_processes(2, work)
    train(alone)
    assert_same_training(both.out, alone.out)
    assert not any(load(Path(both.out))[1].values())


def test_adapters_in_shards_train_as_one(tmp_path, shim, wrapped):
    """All ranks begin with the same random A, whichever shard of it they keep."""
    from torch.distributed.fsdp import FSDPModule

    words = {"student": str(save_student(tmp_path / "start")), "lora_rank": 4, "dora": True}
    words |= {"gradient_checkpointing": True}
    alone = make_training(tmp_path, out=str(tmp_path / "alone"), **ALONE, **words)
    both = make_training(tmp_path, out=str(tmp_path / "both"), parallel="fsdp", **TOGETHER, **words)

    def work():
        train(both)
        assert isinstance(wrapped[0], FSDPModule)

    in_processes(2, work)
    train(alone)
    assert_same_training(both.out, alone.out)


def test_a_sharded_head_is_gathered_once_whatever_the_blocks(tmp_path, shim, monkeypatch):
    """The head is one unit of its own or with the last norm: its blocks cost no communication."""
    from torch.distributed.fsdp._fully_shard import _fsdp_param_group as groups

    original, gathered = groups.foreach_all_gather, []

    def counted(*args, **words):
        gathered.append(1)
        return original(*args, **words)

    monkeypatch.setattr(groups, "foreach_all_gather", counted)

    def gathers(block_rows):
        monkeypatch.setitem(_BLOCK_ROWS, "cpu", block_rows)
        out = tmp_path / f"blocks-{block_rows}"
        settings = make_training(tmp_path, out=str(out), parallel="fsdp", **TOGETHER)

        def work():
            train(settings)
            (out / f"gathers-{os.environ['RANK']}").write_text(str(len(gathered)))

        in_processes(2, work)
        return int((out / "gathers-0").read_text())

    few, many = gathers(512), gathers(3)
    assert few > 0
    assert few == many


def test_shards_in_bfloat16_keep_their_sums_in_float32(tmp_path, shim):
    both = make_training(
        tmp_path, out=str(tmp_path / "both"), parallel="fsdp", dtype="bfloat16", **TOGETHER
    )
    alone = make_training(tmp_path, out=str(tmp_path / "alone"), **ALONE)
    in_processes(2, lambda: train(both))
    train(alone)
    found = [line["loss"] for line in log(both.out)]
    assert found == pytest.approx([line["loss"] for line in log(alone.out)], rel=5e-3)
    assert torch.tensor(found).bfloat16().float().tolist() != found


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_stop_of_one_process_stops_both_and_they_go_on(tmp_path, shim, parallel):
    words = {**TOGETHER, "steps": 5, "parallel": parallel}
    whole = make_training(tmp_path, out=str(tmp_path / "whole"), **words)
    cut = make_training(tmp_path, out=str(tmp_path / "cut"), **words)

    def stop(progress):
        if progress.stage == "train" and progress.done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def stopped():
        with pytest.raises(StoppedError, match="after step 2 of 5"):
            train(cut, stop if os.environ["RANK"] == "0" else lambda progress: None)

    in_processes(2, stopped)
    in_processes(2, lambda: train(cut.model_copy(update={"resume": True})))
    in_processes(2, lambda: train(whole))
    assert_same_training(cut.out, whole.out)


def test_another_number_of_processes_goes_on_too(tmp_path, monkeypatch):
    monkeypatch.setattr("stage2_student.training_figures._SECONDS_BETWEEN", 0)
    alone = make_training(tmp_path, out=str(tmp_path / "alone"), **{**ALONE, "save_steps": 2})
    cut = make_training(tmp_path, out=str(tmp_path / "cut"), **{**ALONE, "save_steps": 2})

    def stop(progress):
        if progress.stage == "train" and progress.done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        train(cut, stop)
    both = cut.model_copy(update={"resume": True, "batch_size": 2})
    in_processes(2, lambda: train(both))
    train(alone)
    assert_same_training(cut.out, alone.out)


@pytest.mark.parametrize(
    ("before", "after"), [("alone", "fsdp"), ("fsdp", "alone"), ("fsdp", "ddp")]
)
def test_a_training_goes_on_in_another_way(tmp_path, shim, before, after):
    """Tied weights, and momenta that matter: the third step begins with those of the second."""
    path = write_config(tmp_path, CONFIG + "tie_word_embeddings: true\n")
    words = {"student_config": str(path), "save_steps": 2}

    def run(out, way, **more):
        given = {**(ALONE if way == "alone" else TOGETHER), **words, **more}
        parallel = "ddp" if way == "alone" else way
        settings = make_training(tmp_path, out=str(tmp_path / out), parallel=parallel, **given)
        in_processes(1 if way == "alone" else 2, lambda: train(settings))
        return tmp_path / out

    whole = run("whole", "alone")
    cut = run("cut", before)
    assert (cut / "checkpoints" / "step-2" / "optimizer.pt").is_file()
    (cut / "model.safetensors").unlink()
    run("cut", after, resume=True)
    assert_same_training(cut, whole)


def test_fsdp_that_would_become_copies_is_refused(tmp_path):
    settings = make_training(tmp_path, parallel="fsdp", **TOGETHER)

    def work():
        with pytest.raises(ConfigError, match="--parallel fsdp was asked for, but"):
            train(settings)

    in_processes(2, work)


def test_processes_that_would_train_apart_are_refused(tmp_path, monkeypatch):
    """As without `use_cpu` on a machine without a GPU: accelerate sees no other process."""
    from types import SimpleNamespace

    from accelerate.utils import DistributedType

    from stage2_student.parallelism import check_parallelism

    monkeypatch.setenv("WORLD_SIZE", "2")
    accelerator = SimpleNamespace(distributed_type=DistributedType.NO)
    with pytest.raises(ConfigError, match="2 processes were started, but they would train apart"):
        check_parallelism(accelerator, SimpleNamespace(fsdp=None))
