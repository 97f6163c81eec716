"""A compiled student trains as the ordinary one does, the fused head under it."""

import functools
import os
import subprocess
import sys

import pytest
import torch

from schemas.errors import ConfigError
from stage2_student.run import train
from tests.stage2_student.processes import in_processes
from tests.stage2_student.test_parallelism import assert_same_training, shim  # noqa: F401
from tests.stage2_student.trainings import load, make_training

SHORT = {"steps": 2, "batch_size": 2}
FRESH = "POTSTILL_TEST_FRESH_PROCESS"


@pytest.fixture
def dynamo(monkeypatch):
    """Compilation on, also where a test run turns it off, down to autograd's graphs."""
    import torch._dynamo

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "")
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    yield torch._dynamo.utils.counters
    torch._dynamo.reset()


@pytest.mark.parametrize("recomputed", [False, True])
def test_compiled_layers_train_as_before(tmp_path, dynamo, recomputed):
    plain = make_training(tmp_path, out=str(tmp_path / "plain"), **SHORT)
    train(plain)
    assert not dynamo["stats"]["unique_graphs"]
    words = {"compile": True, "gradient_checkpointing": recomputed, **SHORT}
    compiled = make_training(tmp_path, out=str(tmp_path / "compiled"), **words)
    train(compiled)
    assert dynamo["stats"]["unique_graphs"]
    assert_same_training(compiled.out, plain.out)
    assert not any(load(tmp_path / "compiled")[1].values())


def test_compiled_shards_pass_in_a_process_of_their_own():
    """Forked behind some hundred other tests, the two processes wait for each other for ever."""
    node = f"{__file__}::test_compiled_shards_train_as_before"
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", node]
    subprocess.run(words, env={**os.environ, FRESH: "1"}, check=True)


@pytest.mark.skipif(FRESH not in os.environ, reason="the test before runs it in a fresh process")
def test_compiled_shards_train_as_before(tmp_path, dynamo, shim):  # noqa: F811
    plain = make_training(tmp_path, out=str(tmp_path / "plain"), **{**SHORT, "batch_size": 4})
    words = {"compile": True, "parallel": "fsdp", **SHORT}
    compiled = make_training(tmp_path, out=str(tmp_path / "compiled"), **words)

    def work():
        train(compiled)
        assert dynamo["stats"]["unique_graphs"]

    in_processes(2, work)
    train(plain)
    assert_same_training(compiled.out, plain.out)


def test_a_compiler_that_fails_is_explained(tmp_path, dynamo, monkeypatch):
    def broken(graph, inputs):
        raise OSError("no g++ here")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile.func, backend=broken))
    with pytest.raises(ConfigError, match=r"could not compile.*no g\+\+ here.*leave --compile out"):
        train(make_training(tmp_path, compile=True, **SHORT))
