"""Trainings small enough for tests: a dump with a tokenizer, a tiny student, settings."""

import hashlib
import json
import os
import signal
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

from schemas.manifest import Tokenizer
from schemas.tokenizer_fingerprint import tokenizer_fingerprint
from stage2_student.settings import TrainSettings
from tests.dumps import Dump, make_settings, write_dump
from tests.tiny import tiny_tokenizer

VOCABULARY = 384


SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}


CONFIG = "model_type: llama\n" + "".join(
    f"{name}: {value}\n" for name, value in SHAPE.items() if name != "vocab_size"
)


def make_dump(path: Path, **given) -> Dump:
    """A dump over 384 tokens that holds the tokenizer of `tiny.py`."""
    tokenizer = tiny_tokenizer(VOCABULARY - 8)
    text = tokenizer.backend_tokenizer.to_str()
    settings = make_settings(given.pop("capture", None) or make_capture(), VOCABULARY)
    settings = settings.model_copy(
        update={
            "tokenizer": Tokenizer(
                fingerprint=tokenizer_fingerprint(text),
                size=len(tokenizer),
                head_size=VOCABULARY,
                special_tokens={"bos_token": 3, "eos_token": 2, "pad_token": 2},
                chat_template="sha256:" + hashlib.sha256(b"template").hexdigest(),
            )
        }
    )
    dump = write_dump(path, vocabulary=VOCABULARY, settings=settings, **given)
    tokenizer.save_pretrained(path / "tokenizer")
    return dump


def make_capture():
    from schemas.manifest import Capture

    return Capture(top_k=8, tail_samples=16)


def write_config(folder: Path, text: str = CONFIG) -> Path:
    """A student's configuration as a YAML file."""
    path = folder / "student.yaml"
    path.write_text(text)
    return path


def save_student(folder: Path, architecture: str = "llama", seed: int = 0, **config) -> Path:
    """A tiny checkpoint with the dump's tokenizer."""
    from tests.tiny import tiny_teacher

    return tiny_teacher(
        folder, vocabulary=VOCABULARY, architecture=architecture, seed=seed, **config
    )


def make_training(tmp_path: Path, **given) -> TrainSettings:
    """Settings of a short training from scratch on a dump below `tmp_path`, made if missing."""
    dump = tmp_path / "dump"
    if not dump.exists():
        make_dump(dump)
    start = {}
    if not {"student", "student_config"} & set(given):
        start["student_config"] = str(write_config(tmp_path))
    words = {
        "dump": [str(dump)],
        "out": str(tmp_path / "out"),
        "steps": 4,
        "batch_size": 2,
        "max_length": 48,
        "warmup_steps": 1,
        "learning_rate": 1e-2,
        "save_steps": 0,
        "log_steps": 1,
    }
    return TrainSettings(**{**words, **start, **given})


def load(folder: Path):
    """The student as anyone would load it, and what loading it said."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)


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
