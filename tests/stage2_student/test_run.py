"""A training from end to end: its log, its losses, and the folder that it leaves."""

import json
import re
from pathlib import Path

import pytest

from schemas.errors import InputError
from stage2_student.losses import LOSSES
from stage2_student.run import train
from tests.stage2_student.trainings import (
    figures,
    load,
    make_training,
    weights,
)

pytestmark = pytest.mark.usefixtures("tell_every_step")


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


@pytest.mark.parametrize(
    "given", [{"token_weights": ["response=0", "text=0"]}, {"train_on": ["rationale"]}]
)
def test_steps_that_weigh_nothing_are_told_and_nothing_else_is_refused(tmp_path, given):
    seen = []
    settings = make_training(tmp_path, steps=2, **given)
    with pytest.raises(InputError, match=r"nothing can be learned.*first 2 steps.*--train-on"):
        train(settings, seen.append)
    told = [p.message for p in seen if "weigh 0" in p.message]
    assert [message.split(":")[0][-1] for message in told] == ["1"]
    assert not (tmp_path / "out/model.safetensors").exists()


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
