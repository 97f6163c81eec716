"""What users get wrong with `train`, through the command line: a clear text, the right code."""

import json
import shutil
from pathlib import Path

import pytest

from tests.pipeline.bad_input import Place, Words, refused
from tests.pipeline.command_line import potstill

TRAINING: dict[str, tuple[Words, tuple[str, ...]]] = {
    "missing student": (lambda p: p.training(student=p.room / "nobody"), ("nobody",)),
    "no student at all": (
        lambda p: ["train", "--dump", p.dump, "--out", p.out],
        ("--student", "--student-config"),
    ),
    "other tokenizer": (
        lambda p: p.training(student=other_student(p)),
        ("tokenizer", "sha256:"),
    ),
    "temperature that is not held": (
        lambda p: p.training("--temperature", 3),
        ("temperature", "3", "1", "2"),
    ),
    "vocabulary too small": (
        lambda p: p.training(student=narrow_student(p)),
        ("vocabulary",),
    ),
    "layer beyond the checkpoint": (
        lambda p: p.training("--student-layers", "0,9"),
        ("9",),
    ),
    "misspelt loss": (lambda p: p.training("--loss", "fkll"), ("fkll", "fkl")),
    "misspelt argument of a loss": (
        lambda p: p.training("--loss", "0.5*fkl(tial=none) + ce"),
        ("0.5*fkl(tial=none) + ce\n          ^^^^\n", "'tail'"),
    ),
    "loss that ends too early": (
        lambda p: p.training("--loss", "0.5*fkl + "),
        ("the text ends here", "^"),
    ),
    "hidden states that are not there": (
        lambda p: p.training("--loss", "fkl + hidden_mse"),
        ("holds none", "--hidden-layers"),
    ),
    "layer without its pair": (
        lambda p: p.training("--loss", "fkl + hidden_mse(layers=4)"),
        ("student:teacher", "^", "layers=4:10"),
    ),
    "unknown task": (lambda p: p.training("--tasks", "thoughts=1"), ("thoughts", "rationale")),
    "tasks that no row has": (lambda p: p.training("--tasks", "answer=1"), ("--tasks", "parser")),
    "loss without weight": (lambda p: p.training("--loss", "0*fkl"), ("sum to zero",)),
    "temperature of a term not in the dump": (
        lambda p: p.training("--loss", "fkl + jsd(temperature=7)"),
        ("temperature 7", "jsd", "--temperatures"),
    ),
    "option that a sum contradicts": (
        lambda p: p.training("--loss", "fkl(tail=none) + ce", "--tail", "bucket"),
        ("--tail says bucket", "^^^^"),
    ),
    "sum with a weight beside it": (
        lambda p: p.training("--loss", "fkl + rkl", "--ce-weight", "0.1"),
        ("ce_weight 0.1", "0.9*fkl + 0.1*ce"),
    ),
    "term of a loss in YAML without a name": (
        lambda p: [*p.training(), "--config", p.file("l.yaml", b"loss: [{weight: 1}]\n")],
        ("no key 'loss'",),
    ),
    "weight over the steps that is none": (
        lambda p: p.training("--loss", "liner(0, 1)*fkl + ce"),
        ("liner(0, 1)*fkl + ce\n  ^^^^^\n", "'linear'"),
    ),
    "weight that needs more steps than there are": (
        lambda p: p.training("--loss", "linear(0, 1, until=9999)*fkl + ce"),
        ("until=9999", "needs 9999 steps", "--epochs"),
    ),
    "step without a weight": (
        lambda p: p.training("--loss", "linear(0, 1)*fkl"),
        ("0 at step 1",),
    ),
    "warm-up as long as the training": (
        lambda p: p.training("--ce-warmup-steps", 9999),
        ("ce_warmup_steps is 9999",),
    ),
    "measuring on nothing": (
        lambda p: p.training("--eval-steps", 1),
        ("holdout is 0", "--holdout 0.05"),
    ),
    "patience without measurements": (
        lambda p: p.training("--patience", 2, "--holdout", 0.1),
        ("patience 2", "--eval-steps 200"),
    ),
    "average that is none": (
        lambda p: p.training("--ema-decay", 1),
        ("ema_decay", "less than 1"),
    ),
    "nothing held out by chance": (
        lambda p: p.training("--eval-steps", 1, "--holdout", 1e-9),
        ("is left", "--holdout 1e-09"),
    ),
    "token weights that are none": (
        lambda p: p.training("--token-weights", "answer"),
        ("token_weights", "'answer'", "answer=2"),
    ),
    "weights of verdicts that the dump does not hold": (
        lambda p: p.training("--wrong-weight", "0"),
        ("no verdicts", "wrong_weight 0"),
    ),
    "misspelt key": (
        lambda p: ["train", p.file("r.yaml", b"dump: d\nlearning_rat: 1\n")],
        ("r.yaml, line 2", "'learning_rate'"),
    ),
    "no write permission": (
        lambda p: [*p.training()[:5], "--out", "/sys/potstill", "--steps", 1],
        ("/sys/potstill",),
    ),
    "another identity": (
        lambda p: p.training("--expect-dump", "sha256:" + "0" * 64),
        ("sha256:" + "0" * 64,),
    ),
    "place with something else": (
        lambda p: [*p.training()[:5], "--out", p.file("thesis.tex", b"x").parent, "--steps", 1],
        ("thesis.tex",),
    ),
}


def other_student(place: Place) -> Path:
    """A student in whose tokenizer two tokens have changed places."""
    folder = Path(shutil.copytree(place.teacher, place.room / "other"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, two = list(vocabulary)[40:42]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def narrow_student(place: Place) -> Path:
    """A student with the dump's tokenizer, and fewer logits than the dump has ids."""
    folder = Path(shutil.copytree(place.teacher.parent / "narrow", place.room / "narrow"))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (place.teacher / name).exists():
            shutil.copy(place.teacher / name, folder / name)
    return folder


@pytest.mark.parametrize("case", TRAINING)
def test_training(case: str, place: Place) -> None:
    words, parts = TRAINING[case]
    refused(potstill(*words(place)), 2, *parts)
    assert not place.out.exists()
