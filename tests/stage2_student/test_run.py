import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from schemas.errors import (
    ConfigError,
    ConflictError,
    InputError,
    MismatchError,
    ModelError,
    StoppedError,
)
from stage2_student.losses import LOSSES
from stage2_student.run import train
from stage2_student.settings import TrainSettings
from tests.stage2_student.trainings import CONFIG, load, make_training, save_student, write_config

VARYING = {"seconds", "tokens_per_second", "wait_share", "fill"}
"""With the machine, or with how a step is cut."""


def figures(out):
    lines = [json.loads(line) for line in (Path(out) / "train_log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in VARYING} for line in lines]


def weights(out):
    return load_file(Path(out) / "model.safetensors")


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


class Stop:
    """A report that sends a signal at a step."""

    def __init__(self, step, number=signal.SIGTERM):
        self.step, self.number = step, number

    def __call__(self, progress):
        if progress.stage == "train" and progress.done == self.step:
            os.kill(os.getpid(), self.number)


@pytest.fixture(autouse=True)
def tell_every_step(monkeypatch):
    monkeypatch.setattr("stage2_student.training_figures._SECONDS_BETWEEN", 0)


def test_a_student_from_scratch_becomes_an_ordinary_folder(tmp_path):
    seen = []
    settings = make_training(tmp_path, steps=3, ce_weight=0.25)
    summary = train(settings, seen.append)
    out = Path(settings.out)
    model, info = load(out)
    assert not any(info.values())
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    words = tokenizer("The river", return_tensors="pt")
    assert model.generate(**words, max_new_tokens=3).shape[1] > words["input_ids"].shape[1]
    assert model.config.use_cache
    names = {path.name for path in out.iterdir()}
    assert names == {
        *(".lock", "README.md", "config.json", "dump.json", "generation_config.json"),
        *("model.safetensors", "run.yaml", "tokenizer.json", "tokenizer_config.json"),
        "train_log.jsonl",
    }
    assert (summary.steps, summary.finished_before, summary.resumed_at) == (3, False, 0)
    assert summary.parameters == model.num_parameters()
    assert [line["step"] for line in figures(out)] == [1, 2, 3]
    assert set(figures(out)[0]) == {"step", "loss", "fkl", "ce", "tokens"} | {
        "learning_rate",
        "grad_norm",
    }
    lines = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    assert all(0 < line["fill"] <= 1 and line["wait_share"] >= 0 for line in lines)
    last = [p for p in seen if p.unit == "steps"][-1]
    assert (last.done, last.total) == (3, 3) and {"loss", "tokens/s"} <= set(last.figures)


def test_the_loss_in_the_log_is_the_weighted_sum_of_its_terms(tmp_path):
    settings = make_training(tmp_path, steps=2, ce_weight=0.25, temperature=2.0)
    train(settings)
    for line in figures(settings.out):
        assert line["loss"] == pytest.approx(0.75 * 4 * line["fkl"] + 0.25 * line["ce"], rel=1e-6)


def test_a_sum_of_losses_with_weighted_tokens_is_logged_term_by_term(tmp_path):
    losses = [{"loss": "fkl", "weight": 0.5, "temperature": 2}, "0.2*fkl + 0.1*jsd(beta=0.2)",
              "0.2*ce(smoothing=0.1)"]  # fmt: skip
    settings = make_training(
        tmp_path,
        steps=2,
        loss=losses,
        token_weights=["response=2", "text=0.5"],
        weigh_by="confidence",
    )
    train(settings)
    for line in figures(settings.out):
        terms = [line[name] for name in ("fkl temperature 2", "fkl", "jsd", "ce")]
        weights = (0.5 * 4, 0.2, 0.1, 0.2)
        expected = sum(weight * term for weight, term in zip(weights, terms, strict=True))
        assert line["loss"] == pytest.approx(expected, rel=1e-5)
    assert train(settings).finished_before
    text = (Path(settings.out) / "README.md").read_text()
    assert "0.5*fkl(temperature=2, tail=sample) + 0.2*fkl(tail=sample) + 0.1*jsd(beta=0.2" in text


def test_weights_change_over_the_steps_after_a_warm_up_of_cross_entropy(tmp_path):
    loss = "linear(1, 0, until=4)*fkl(temperature=2) + linear(0, 1, until=4)*fkl"
    settings = make_training(tmp_path, steps=4, loss=loss, ce_warmup_steps=2)
    train(settings)
    losses = [(line["loss"], line) for line in figures(settings.out)]
    expected = [line["ce"] for _, line in losses[:2]]
    expected += [
        (1 - x) * 4 * line["fkl temperature 2"] + x * line["fkl"]
        for x, (_, line) in zip((0.5, 0.75), losses[2:], strict=True)
    ]
    assert [loss for loss, _ in losses] == pytest.approx(expected, rel=1e-6)
    card = (Path(settings.out) / "README.md").read_text()
    assert "ce until step 2, then linear(1, 0, until=4)*fkl(temperature=2, tail=sample)" in card


def test_a_step_whose_positions_all_weigh_nothing_is_told(tmp_path):
    seen = []
    settings = make_training(tmp_path, steps=2, token_weights=["response=0", "text=0"])
    train(settings, seen.append)
    told = [p.message for p in seen if "weigh 0" in p.message]
    assert [message.split(":")[0][-1] for message in told] == ["1", "2"]
    assert [line["loss"] for line in figures(settings.out)] == [0, 0]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(tmp_path, loss):
    settings = make_training(
        tmp_path, steps=12, batch_size=16, loss=loss, learning_rate=1e-2, log_steps=4
    )
    train(settings)
    found = [line[loss] for line in figures(settings.out)]
    assert found[-1] < found[0]


def test_a_student_learns_by_heart_what_it_sees_often(tmp_path):
    settings = make_training(
        tmp_path, steps=150, batch_size=16, learning_rate=2e-2, schedule="constant", log_steps=30
    )
    train(settings)
    losses = [line["fkl"] for line in figures(settings.out)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.5 * losses[0]


def test_the_teachers_tokens_alone_are_learned_too(tmp_path):
    settings = make_training(tmp_path, steps=60, batch_size=16, loss="ce", log_steps=20)
    train(settings)
    losses = [line["ce"] for line in figures(settings.out)]
    assert losses[-1] < 0.8 * losses[0]
    assert "fkl" not in figures(settings.out)[0]


def test_accumulation_normalises_by_the_weights_of_the_whole_step(tmp_path):
    """Rows of different numbers of positions: a mean of means would differ."""
    whole = make_training(tmp_path, out=str(tmp_path / "whole"), batch_size=4, packing=False)
    parts = make_training(
        tmp_path, out=str(tmp_path / "parts"), batch_size=1, grad_accumulation=4, packing=False
    )
    train(whole)
    train(parts)
    for left, right in zip(figures(whole.out), figures(parts.out), strict=True):
        assert left == pytest.approx(right, rel=1e-5)
    found, expected = weights(parts.out), weights(whole.out)
    for name in expected:  # Adam makes a whole step of a gradient of rounding errors: so norms
        assert (found[name] - expected[name]).norm() < 1e-3 * expected[name].norm(), name


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


def test_what_is_left_out_and_how_full_rows_are_is_said(tmp_path):
    seen = []
    given = {"min_tokens": 10, "holdout": 0.3, "mix_temperature": 1e9}
    train(make_training(tmp_path, steps=1, **given), seen.append)
    [text] = [progress.message for progress in seen if "tokens an epoch" in progress.message]
    assert re.search(
        r"^\d+ sequences, [\d,]+ tokens an epoch \(--min-tokens 10 left out \d+, --holdout 0\.3 "
        r"left out \d+\), in rows of 48, \d+\.\d% of their places filled; of the tokens",
        text,
    )
    assert "of the tokens synthetic/a 50.0%, synthetic/b 50.0%" in text


def test_data_that_cannot_be_is_refused_before_anything_is_written(tmp_path):
    for given, words in (
        ({"max_tokens": 2}, "--max-tokens 2: 24 left out"),
        ({"sources": ["synthetic/z"]}, "the dumps hold synthetic/a, synthetic/b"),
        ({"verdicts": ["correct"]}, "holds no verdicts"),
        ({"dump_weights": [1.0, 2.0]}, "2 numbers for 1 dump"),
        ({"max_passes": 1, "steps": 1000}, r"after \d+ steps"),
    ):
        settings = make_training(tmp_path, **{"steps": 2, **given})
        with pytest.raises(InputError, match=words):
            train(settings)
        assert not Path(settings.out).exists()


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


def test_a_carved_student_says_what_its_weights_came_from(tmp_path):
    teacher = save_student(tmp_path / "teacher", num_hidden_layers=4)
    settings = make_training(tmp_path, student=str(teacher), student_layers=[0, 2], steps=2)
    train(settings)
    model, info = load(Path(settings.out))
    assert not any(info.values())
    assert model.config.num_hidden_layers == 2
    card = (Path(settings.out) / "README.md").read_text()
    assert "base_model: teacher" in card and "layers 0, 2 were kept" in card
    assert (Path(settings.out) / "chat_template.jinja").is_file()


@pytest.mark.parametrize("architecture", ["gemma2", "cohere"])
def test_students_with_transformed_logits_train_and_load(tmp_path, architecture):
    student = save_student(tmp_path / "student", architecture)
    settings = make_training(tmp_path, student=str(student), steps=2)
    train(settings)
    _, info = load(Path(settings.out))
    assert not any(info.values())


def test_bfloat16_keeps_float32_checkpoints_and_stores_bfloat16(tmp_path):
    settings = make_training(tmp_path, steps=3, dtype="bfloat16", save_steps=2)
    train(settings)
    assert {t.dtype for t in weights(settings.out).values()} == {torch.bfloat16}
    checkpoint = Path(settings.out) / "checkpoints" / "step-2"
    assert {t.dtype for t in weights(checkpoint).values()} == {torch.float32}
    model, info = load(Path(settings.out))
    assert model.dtype == torch.bfloat16 and not any(info.values())
    losses = [line["loss"] for line in figures(settings.out)]
    reference = make_training(tmp_path, steps=3, out=str(tmp_path / "reference"))
    train(reference)
    assert losses == pytest.approx([line["loss"] for line in figures(reference.out)], rel=0.02)
    assert losses != [line["loss"] for line in figures(reference.out)]


def test_tied_weights_are_stored_once_also_in_bfloat16(tmp_path):
    path = write_config(tmp_path, CONFIG + "tie_word_embeddings: true\n")
    settings = make_training(tmp_path, steps=1, dtype="bfloat16", student_config=str(path))
    train(settings)
    assert "lm_head.weight" not in weights(settings.out)
    model, info = load(Path(settings.out))
    assert not any(info.values())
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_model_that_cannot_be_packed_trains_on_single_documents(tmp_path):
    path = write_config(
        tmp_path,
        "model_type: mamba\nhidden_size: 16\nstate_size: 4\nnum_hidden_layers: 2\n",
    )
    seen = []
    settings = make_training(tmp_path, student_config=str(path), steps=2)
    train(settings, seen.append)
    assert any("one document each" in progress.message for progress in seen)
    assert not any(load(Path(settings.out))[1].values())


def test_a_loss_that_is_no_number_stops_and_names_the_samples(tmp_path):
    from safetensors.torch import save_file

    student = save_student(tmp_path / "student")
    tensors = load_file(student / "model.safetensors")
    tensors["model.norm.weight"] *= float("inf")
    save_file(tensors, student / "model.safetensors", metadata={"format": "pt"})
    settings = make_training(tmp_path, student=str(student))
    with pytest.raises(ModelError):
        train(settings)


def test_a_learning_rate_that_breaks_the_student_stops_and_names_the_samples(tmp_path):
    settings = make_training(
        tmp_path, steps=9, learning_rate=1e30, max_grad_norm=0, warmup_steps=0, weight_decay=0
    )
    with pytest.raises(ModelError, match=r"not a finite number at step \d, on s0-"):
        train(settings)
    assert not (Path(settings.out) / "config.json").exists()


@pytest.mark.parametrize(
    ("given", "error", "found"),
    [
        ({"temperature": 3.0}, ConfigError, "does not hold temperature 3"),
        ({"max_length": 8}, ConfigError, "max"),
        ({"expect_dump": ["sha256:" + "0" * 64]}, MismatchError, "not the expected ones"),
        ({"loss": "fkll"}, ConfigError, "unknown loss"),
        ({"student": "/nowhere/model"}, ModelError, "no student at /nowhere/model"),
    ],
)
def test_bad_input_leaves_nothing_behind(tmp_path, given, error, found):
    settings = make_training(tmp_path, **given)
    with pytest.raises(error, match=found):
        train(settings)
    assert not Path(settings.out).exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    settings = make_training(tmp_path)
    Path(settings.out).mkdir()
    (Path(settings.out) / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"something else.*thesis\.tex"):
        train(settings)
    file = make_training(tmp_path, out=str(tmp_path / "student.yaml"))
    with pytest.raises(InputError, match="is a file"):
        train(file)
    assert [path.name for path in Path(settings.out).iterdir()] == ["thesis.tex"]


def test_no_socket_is_opened(tmp_path, monkeypatch):
    teacher = save_student(tmp_path / "teacher", num_hidden_layers=2)
    settings = make_training(tmp_path, student=str(teacher), student_layers=[1], steps=2)

    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    train(settings)


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
