from dataclasses import replace
from pathlib import Path

import pytest
import torch

from schemas.errors import ModelError
from stage1_teacher.engine import EngineSettings
from stage1_teacher.teacher_model import load_teacher
from stage1_teacher.teacher_proof import prove_teacher
from tests.tiny import tiny_teacher

DTYPES = ["float32", "bfloat16"]


def load(folder: Path, **settings):
    return load_teacher(EngineSettings(model=folder, device="cpu", **settings))


@pytest.fixture(scope="module", params=["llama", "gemma2", "granite", "cohere"])
def teacher(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / request.param
    return tiny_teacher(folder, architecture=request.param)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "wrong", [{"softcap": 3.0}, {"softcap": 30.0}, {"scale": 1.3}, {"bias_V": torch.ones(384)}]
)
def test_an_unknown_transform_is_found_out(teacher: Path, dtype: str, wrong: dict) -> None:
    loaded = load(teacher, dtype=dtype)
    with pytest.raises(ModelError, match="are not the model's own"):
        prove_teacher(loaded.model, replace(loaded.head, **wrong))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_missing_softcap_is_found_out_even_on_tiny_logits(tmp_path: Path, dtype: str) -> None:
    folder = tiny_teacher(tmp_path / "m", architecture="gemma2", final_logit_softcapping=30.0)
    loaded = load(folder, dtype=dtype)
    loaded.model.lm_head.weight.mul_(1e-3)
    prove_teacher(loaded.model, loaded.head)
    with pytest.raises(ModelError, match="are not the model's own"):
        prove_teacher(loaded.model, replace(loaded.head, softcap=None))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_that_looks_ahead_is_found_out(tmp_path: Path, dtype: str, monkeypatch) -> None:
    loaded = load(tiny_teacher(tmp_path / "m"), dtype=dtype)
    for layer in loaded.model.model.layers:
        monkeypatch.setattr(layer.self_attn, "is_causal", False)
    prove_teacher_sees = pytest.raises(ModelError, match="padding on the right changes")
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", _uncausal(torch.nn.functional)
    )
    with prove_teacher_sees:
        prove_teacher(loaded.model, loaded.head)


def _uncausal(functional):
    real = functional.scaled_dot_product_attention

    def attention(query, key, value, **words):
        return real(query, key, value, **{**words, "is_causal": False, "attn_mask": None})

    return attention


def test_a_model_without_a_body_is_refused(tmp_path: Path) -> None:
    loaded = load(tiny_teacher(tmp_path / "m"))
    loaded.model.base_model_prefix = "no_such_attribute"
    with pytest.raises(ModelError, match="no body"):
        prove_teacher(loaded.model, loaded.head)
