"""Tiny teachers that vLLM runs on a CPU, whose attention takes heads of 32 numbers and more."""

from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_teacher

SHAPE = {"head_dim": 32, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
OPTIONS = {"enforce_eager": True}

pytest.importorskip("vllm", reason="vLLM is not installed")


def vllm_teacher(folder: Path, **config: Any) -> Path:
    """As `tiny_teacher`, of a shape that vLLM runs here."""
    return tiny_teacher(folder, **{**SHAPE, **config})
