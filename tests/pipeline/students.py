"""A student's folder as training and evaluation leave it, with made-up figures."""

import json
import math
import random
from pathlib import Path

import yaml

HOSTILE = "</script><script>alert(1)</script>\x1b[31m\u202eevil"


def metrics(kl: float, cross_entropy: float) -> dict:
    teacher = cross_entropy - 0.8 * kl
    return {
        "positions": 4321,
        "documents": 87,
        "cross_entropy": cross_entropy,
        "perplexity": math.exp(cross_entropy),
        "teacher_cross_entropy": teacher,
        "teacher_perplexity": math.exp(teacher),
        "kl": kl,
        "kl_low": kl - 0.02,
        "kl_high": kl + 0.02,
        "kl_bucket": kl - 0.01,
        "agreement": 0.9 - kl / 2,
        "ece": 0.031,
        "teacher_ece": 0.012,
    }


def bins(shift: float) -> list[dict]:
    return [
        {
            "lower": i / 10,
            "upper": (i + 1) / 10,
            "count": 100 * (i + 1),
            "confidence": i / 10 + 0.05,
            "accuracy": max(0.0, min(1.0, i / 10 + 0.05 - shift * math.sin(i / 3))),
        }
        for i in range(10)
    ]


def disagreement(index: int, context: str) -> dict:
    return {
        "id": f"row-{index}",
        "source": "problems",
        "position": 41 + index,
        "context": context,
        "token": " seven",
        "kl": 2.5 - index / 3,
        "teacher": [
            {"text": t, "probability": p}
            for t, p in zip(
                (" seven", " 7", " eight", " the", "\n"), (0.71, 0.2, 0.05, 0.02, 0.01), strict=True
            )
        ],
        "student": [
            {"text": t, "probability": p}
            for t, p in zip(
                (" the", " a", " seven", " some", " many"),
                (0.4, 0.22, 0.1, 0.08, 0.05),
                strict=True,
            )
        ],
    }


def evaluation() -> dict:
    return {
        "student": {
            "name": "student",
            "architecture": "LlamaForCausalLM",
            "parameters": 49_600_000,
            "bytes": 99_200_000,
            "dtype": "float32",
        },
        "teacher": {
            "name": "SmolLM2-135M-Instruct",
            "parameters": 134_515_008,
            "dtype": "float32",
        },
        "dumps": ["sha256:" + "ab" * 32],
        "rows": "held-out",
        "holdout": 0.1,
        "kl_estimator": "sample",
        "overall": metrics(0.21, 2.4),
        "slices": {
            "instructions": metrics(0.15, 1.9),
            "problems": metrics(0.31, 1.2),
            "prose": metrics(0.2, 3.1),
            "code": metrics(0.26, 1.6),
        },
        "calibration": bins(0.08),
        "teacher_calibration": bins(0.02),
        "disagreements": [
            disagreement(0, "Anna has 4 apples and finds 3 more. How many has she now?\nShe has"),
            disagreement(1, "def count(items):\n    return"),
            disagreement(2, HOSTILE),
        ],
        "speed": {
            "device": "cpu",
            "dtype": "float32",
            "tokens_per_second": 2417.0,
            "generated_per_second": 31.4,
            "memory_bytes": 812_000_000,
        },
    }


def steps(count: int = 70) -> list[dict]:
    generator = random.Random(0)
    found = []
    for step in range(1, count + 1):
        fkl = 0.25 + 2.2 * math.exp(-step / 14) + generator.gauss(0, 0.05)
        ce = 1.9 + 2.4 * math.exp(-step / 14) + generator.gauss(0, 0.06)
        found.append(
            {
                "step": step,
                "loss": 0.9 * fkl + 0.1 * ce,
                "fkl": fkl,
                "ce": ce,
                "learning_rate": 8e-4 * math.sin(math.pi * step / (count + 1)),
                "tokens_per_second": 661.0,
                "wait_share": 0.01,
                "tokens": 2048 * step,
                "seconds": 3.1 * step,
                "grad_norm": 1.0,
            }
        )
    return found


def dumps() -> list[dict]:
    return [
        {
            "identity": "sha256:" + "ab" * 32,
            "plan": "sha256:" + "cd" * 32,
            "teacher": {
                "name": "SmolLM2-135M-Instruct",
                "revision": None,
                "weights": "sha256:" + "12" * 32,
                "parameters": 134_515_008,
                "dtype": "float32",
                "license": "apache-2.0",
                "output_terms": None,
            },
            "corpus": {"name": "corpus.jsonl", "license": "apache-2.0"},
            "tokenizer": {"fingerprint": "sha256:" + "34" * 32},
            "bytes": 18_000_000,
            "tokens": 251_000,
        }
    ]


def write_student(folder: Path, *, leave_out: tuple[str, ...] = ()) -> Path:
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(step) + "\n" for step in steps())
    content = {
        "run.yaml": yaml.safe_dump({"dump": ["dump"], "steps": 70, "loss": "fkl"}),
        "train_log.jsonl": lines,
        "dump.json": json.dumps(dumps()),
        "evaluation.json": json.dumps(evaluation()),
    }
    for name, text in content.items():
        if name not in leave_out:
            (folder / name).write_text(text)
    return folder
