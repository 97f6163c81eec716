"""Trainings on hidden states from end to end: figures, files, resume, several processes."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from schemas.errors import ConfigError, DamagedError, MismatchError, StoppedError
from stage2_student.hidden_matching import HiddenMatching
from stage2_student.hidden_terms import HiddenTerm, LayerPair
from stage2_student.projector_file import FILE, FOLDER, load_projectors, taken_apart
from stage2_student.run import train
from tests.dumps import hidden_policy
from tests.stage2_student.hidden_cases import log, make_hidden_dump, plan
from tests.stage2_student.processes import in_processes
from tests.stage2_student.test_parallelism import assert_same_training, shim
from tests.stage2_student.trainings import load, make_dump, make_training, save_student

LOSS = "fkl + 0.5*hidden_cosine(layers=1:2 last:last, projector=linear) + hidden_normalised"
NAMES = ("student_1_teacher_2", "student_last_teacher_last")

__all__ = ["shim"]


@pytest.fixture
def folder(tmp_path):
    make_hidden_dump(tmp_path / "dump", codec="int8", width=24)
    return tmp_path


def projectors(out) -> dict[str, torch.Tensor]:
    return load_file(Path(out) / FOLDER / FILE)


def assert_same(left, right, tolerance=1e-5):
    assert_same_training(left, right, tolerance)
    for found, expected in zip(log(left), log(right), strict=True):
        for name in ("hidden_cosine", "hidden_normalised"):
            assert found[name] == pytest.approx(expected[name], rel=tolerance)
    found, expected = projectors(left), projectors(right)
    for name in expected:
        assert (found[name] - expected[name]).norm() < 100 * tolerance * expected[name].norm()


def test_a_student_learns_states_and_projectors_are_saved_apart(folder):
    told = []
    settings = make_training(folder, loss=LOSS, steps=20)
    train(settings, lambda progress: told.append(progress.message))
    lines = log(settings.out)
    assert lines[-1]["hidden_cosine"] < lines[0]["hidden_cosine"] - 0.05
    assert lines[-1]["hidden_normalised"] < 0.5 * lines[0]["hidden_normalised"]
    out = Path(settings.out)
    names = {*NAMES, "student_0_teacher_0", "student_2_teacher_4"}
    assert {n: list(t.shape) for n, t in projectors(out).items()} == {n: [24, 32] for n in names}
    assert not any(load(out)[1].values())
    assert [path.name for path in out.glob("*.safetensors")] == ["model.safetensors"]
    assert any("the student's 1 with the teacher's 2" in (message or "") for message in told)
    assert (
        "hidden_cosine(layers=1:2 last:last, projector=linear)" in (out / "README.md").read_text()
    )


def test_a_student_as_wide_as_the_teacher_needs_no_projector(tmp_path):
    make_hidden_dump(tmp_path / "dump")
    settings = make_training(tmp_path, loss="hidden_mse")
    train(settings)
    assert not (Path(settings.out) / FOLDER).exists()


def test_a_resumed_training_is_the_uninterrupted_one(folder, monkeypatch):
    monkeypatch.setattr("stage2_student.training_figures._SECONDS_BETWEEN", 0)
    words = {"loss": LOSS, "steps": 5, "save_steps": 2}
    whole = make_training(folder, out=str(folder / "whole"), **words)
    cut = make_training(folder, out=str(folder / "cut"), **words)

    def stop(progress):
        if progress.stage == "train" and progress.done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        train(cut, stop)
    (checkpoint,) = (Path(cut.out) / "checkpoints").glob("step-*")
    assert set(projectors(checkpoint)) > set(NAMES)
    assert [path.name for path in checkpoint.glob("*.safetensors")] == ["model.safetensors"]
    train(cut.model_copy(update={"resume": True}))
    train(whole)
    assert_same(cut.out, whole.out, 1e-6)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_as_one(folder, shim, parallel):
    words = {"loss": LOSS, "steps": 3, "packing": False}
    alone = make_training(folder, out=str(folder / "alone"), batch_size=4, **words)
    both = make_training(
        folder,
        out=str(folder / "both"),
        batch_size=1,
        grad_accumulation=2,
        parallel=parallel,
        **words,
    )
    in_processes(2, lambda: train(both))
    train(alone)
    assert_same(both.out, alone.out)
    assert not any(load(Path(both.out))[1].values())


def test_gradient_checkpointing_changes_nothing(folder):
    plain = make_training(folder, out=str(folder / "plain"), loss=LOSS)
    frugal = make_training(
        folder, out=str(folder / "frugal"), loss=LOSS, gradient_checkpointing=True
    )
    train(plain)
    train(frugal)
    assert_same(frugal.out, plain.out, 1e-6)


def test_bfloat16_keeps_the_loss_in_float32(folder):
    plain = make_training(folder, out=str(folder / "plain"), loss=LOSS)
    half = make_training(folder, out=str(folder / "half"), loss=LOSS, dtype="bfloat16")
    train(plain)
    train(half)
    found, expected = (log(run.out)[0]["hidden_normalised"] for run in (half, plain))
    assert found == pytest.approx(expected, rel=1e-2)
    assert float(torch.tensor(found).bfloat16()) != found


def test_the_best_checkpoint_has_its_own_projectors(folder):
    """The student of the lowest held-out KL comes with the projectors of that step."""
    rate = {"learning_rate": 0.5, "schedule": "constant", "warmup_steps": 1}
    words = {"loss": LOSS, "holdout": 0.3, "eval_steps": 1, "save_steps": 1, "steps": 3, **rate}
    settings = make_training(folder, **words)
    train(settings)
    kls = [line["held_out_kl"] for line in log(settings.out)]
    best = kls.index(min(kls)) + 1
    assert best < 3
    checkpoint = Path(settings.out) / "checkpoints" / f"step-{best}"
    found, expected = projectors(settings.out), projectors(checkpoint)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_adapters_and_projectors_are_trained_together(folder, monkeypatch):
    monkeypatch.setattr("stage2_student.training_figures._SECONDS_BETWEEN", 0)
    teacher = save_student(folder / "base")
    words = {"loss": LOSS, "student": str(teacher), "lora_rank": 2, "steps": 4, "save_steps": 2}
    whole = make_training(folder, out=str(folder / "whole"), **words)
    cut = make_training(folder, out=str(folder / "cut"), **words)

    def stop(progress):
        if progress.stage == "train" and progress.done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        train(cut, stop)
    train(cut.model_copy(update={"resume": True}))
    train(whole)
    assert_same(cut.out, whole.out, 1e-6)
    assert log(whole.out)[-1]["hidden_normalised"] < log(whole.out)[0]["hidden_normalised"]


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("hidden_mse(layers=1:3)", "does not hold the teacher's layer 3"),
        ("hidden_mse(layers=3:2)", "hidden layer 3 is beyond the student"),
        ("hidden_mse(projector=none)", "32 wide and the teacher's states are 24"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(folder, loss, message):
    settings = make_training(folder, loss=loss)
    with pytest.raises(ConfigError, match=message):
        train(settings)
    assert not Path(settings.out).exists()


def test_a_dump_without_states_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds none\. Leave it out .* --hidden-layers"):
        train(make_training(tmp_path, loss="fkl + hidden_mse"))


def test_states_of_other_rows_are_found(folder):
    """Every file has its right hash; what lies under hidden/ belongs to another row group."""
    from schemas.dump_folder import open_dump
    from stage2_student.row_index import RowChoice, read_index
    from stage2_student.shard_reader import ShardReader, Wanted

    dump = open_dump(folder / "dump")
    place, *_, other = read_index([dump], RowChoice()).groups
    reader = ShardReader([dump], Wanted(hidden=("2",)))
    reader.read(place)
    table = dump.hidden_file(other.shard).read_row_group(other.group)
    held = reader._table
    reader._table = lambda place, name, columns: (
        table if name == "hidden" else held(place, name, columns)
    )
    with pytest.raises(DamagedError, match=r"hidden/part-.* its rows are not those of the same"):
        reader.read(place)


def test_projectors_of_another_training_are_refused(tmp_path):
    pair = LayerPair(student="1", teacher="2")
    term = HiddenTerm(loss="hidden_mse", pairs=(pair,), projector="linear")
    matching = HiddenMatching(plan(term, stored_width=8))
    with pytest.raises(DamagedError, match=r"projector\.safetensors cannot be read"):
        load_projectors(tmp_path, matching)
    (tmp_path / FOLDER).mkdir()
    save_file({NAMES[0]: torch.zeros(8, 16)}, tmp_path / FOLDER / FILE)
    expected = r"there student_1_teacher_2 \[8, 16\], here student_1_teacher_2 \[8, 32\]"
    with pytest.raises(MismatchError, match=expected):
        load_projectors(tmp_path, matching)
    (tmp_path / FOLDER / FILE).write_bytes(b"nothing")
    with pytest.raises(DamagedError, match="delete that checkpoint"):
        load_projectors(tmp_path, matching)


def test_a_state_dict_is_taken_apart():
    own, found = taken_apart({"model.a": 1, "potstill_hidden.maps.student_1_teacher_2.weight": 2})
    assert (own, found) == ({"model.a": 1}, {"student_1_teacher_2": 2})


def test_the_spread_is_that_of_the_first_tokens(tmp_path, monkeypatch):
    from schemas.dump_folder import open_dump
    from stage2_student.state_spread import state_spreads

    monkeypatch.setattr("stage2_student.state_spread._TOKENS", 100)
    made = make_dump(tmp_path / "d", capture=hidden_policy("bf16", layers=("last",), width=6))
    states = [made.hidden[name]["last"] for name in made.samples]
    expected = np.concatenate(states)[:100].std(axis=0, dtype=np.float64)
    found = state_spreads(open_dump(made.path), ["last"])["last"]
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
