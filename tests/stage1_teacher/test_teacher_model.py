import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from schemas.errors import ConfigError, ModelError
from stage1_teacher.engine import EngineSettings
from stage1_teacher.output_head import OutputHead
from stage1_teacher.teacher_model import load_teacher, set_cpu_threads
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
def test_loads_in_the_dtype_asked_for(teacher: Path, dtype: str) -> None:
    loaded = load(teacher, dtype=dtype)
    assert loaded.model.dtype == loaded.head.weight_VD.dtype == getattr(torch, dtype)
    assert not loaded.model.training
    assert loaded.head.size == 384


def test_transforms_are_read_from_the_configuration(tmp_path: Path) -> None:
    heads = {
        name: load(tiny_teacher(tmp_path / name, architecture=name)).head
        for name in ("llama", "gemma2", "granite", "cohere")
    }
    assert (heads["llama"].scale, heads["llama"].softcap) == (1.0, None)
    assert heads["gemma2"].softcap == 4.0
    assert heads["granite"].scale == pytest.approx(2.5)
    assert heads["cohere"].scale == 2.0


def test_multipliers_of_other_families() -> None:
    import transformers

    shape = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 2, "head_dim": 16}
    configs = {
        transformers.FalconH1Config: {"lm_head_multiplier": 0.5, "intermediate_size": 32},
        transformers.HyperCLOVAXConfig: {"logits_scaling": 0.25, "intermediate_size": 32},
    }
    for config, extra in configs.items():
        model = transformers.AutoModelForCausalLM.from_config(config(**shape, **extra)).eval()
        assert OutputHead.of(model).scale == next(iter(extra.values()))
        prove_teacher(model, OutputHead.of(model))


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


def test_a_quantised_head_is_refused(tmp_path: Path) -> None:
    loaded = load(tiny_teacher(tmp_path / "m"))
    loaded.model.lm_head = torch.nn.Identity()
    with pytest.raises(ModelError, match="without a plain weight matrix"):
        OutputHead.of(loaded.model)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    folder = tiny_teacher(tmp_path / "m")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot load the teacher"):
        load(folder)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_teacher(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights .* are not in its files.*model.norm.weight"):
        load(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used here"),
        ({"device": "toaster"}, "device 'toaster' cannot be used here"),
        ({"dtype": "float8"}, "no dtype 'float8'"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, settings: dict, message: str) -> None:
    folder = tiny_teacher(tmp_path / "m")
    with pytest.raises(ConfigError, match=message):
        load_teacher(EngineSettings(**{"model": folder, "device": "cpu", **settings}))


def test_loading_prints_nothing(tmp_path: Path, capfd) -> None:
    folder = tiny_teacher(tmp_path / "m")
    capfd.readouterr()
    load(folder)
    assert capfd.readouterr() == ("", "")


def test_threads_stay_within_what_the_process_may_use(monkeypatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    try:
        set_cpu_threads()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
