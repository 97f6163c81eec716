"""Hooks give the states that transformers numbers, and the one that it does not give."""

from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.errors import ConfigError, ModelError
from stage1_teacher.layer_states import decoder_layers, prove_layers, recording
from tests.stage1_teacher.test_engine_transformers import ARCHITECTURES, make_teacher

IDS = torch.arange(40).view(2, 20)
NORMS = {"gpt2": "ln_f", "phi": "final_layernorm"}


def load(folder: Path, dtype: torch.dtype = torch.bfloat16) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("teachers")
    return {name: make_teacher(folder / name, name) for name in ARCHITECTURES}


@torch.inference_mode()
def states_of(model: Any, layers: list[str]) -> dict[str, torch.Tensor]:
    with recording(model, layers) as found:
        model.base_model(input_ids=IDS, use_cache=False)
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_are_those_of_transformers(folders: dict[str, Path], architecture: str) -> None:
    model = load(folders[architecture])
    found = states_of(model, ["0", "1", "2", "last"])
    with torch.inference_mode():
        theirs = model(input_ids=IDS, output_hidden_states=True).hidden_states
    for layer, expected in (("0", theirs[0]), ("1", theirs[1]), ("last", theirs[2])):
        assert torch.equal(found[layer], expected), layer
    assert not torch.equal(found["2"], theirs[2])
    prove_layers(model, ["0", "1", "2", "last"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_final_norm_makes_last_of_the_last_layer(
    folders: dict[str, Path], architecture: str
) -> None:
    model = load(folders[architecture])
    found = states_of(model, ["2", "last"])
    norm = getattr(model.base_model, NORMS.get(architecture, "norm"))
    with torch.inference_mode():
        assert torch.equal(norm(found["2"]), found["last"])


def test_only_the_layers_asked_for_are_kept_and_hooks_go(folders: dict[str, Path]) -> None:
    model = load(folders["llama"])
    assert list(states_of(model, ["1"])) == ["1"]
    modules = [model.base_model, *decoder_layers(model)]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules)
    with pytest.raises(ConfigError, match="hidden layer 3"), recording(model, ["1", "3"]):
        pass
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules)


def test_states_are_kept_though_a_layer_writes_over_them(folders: dict[str, Path]) -> None:
    model = load(folders["llama"])
    expected = states_of(model, ["1"])["1"]
    writing = decoder_layers(model)[1].register_forward_hook(
        lambda _, args, __: _overwrite(args[0])
    )
    found = states_of(model, ["1"])["1"]
    writing.remove()
    assert torch.equal(found, expected)


def test_a_model_that_numbers_otherwise_is_refused(folders: dict[str, Path]) -> None:
    model = load(folders["llama"])
    prove_layers(model, ["1"])
    model.base_model.register_forward_hook(lambda _, __, out: _renumbered(out))
    with pytest.raises(ModelError, match="hidden state 1 of LlamaForCausalLM is not what"):
        prove_layers(model, ["1"])


def _renumbered(out: Any) -> Any:
    if out.hidden_states is not None:
        out.hidden_states = (out.hidden_states[0], *out.hidden_states[:1], out.hidden_states[2])
    return out


def test_layers_that_cannot_be_told(folders: dict[str, Path]) -> None:
    model = load(folders["llama"])
    model.base_model.twin = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(2))
    with pytest.raises(ModelError, match="2 lists of 2 layers"):
        decoder_layers(model)
    prove_layers(model, ["last"])


def _overwrite(states: torch.Tensor) -> None:
    states.zero_()
