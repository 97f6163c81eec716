from pathlib import Path

import pytest
import torch

from schemas.errors import ModelError
from stage1_teacher.engine import EngineSettings
from stage1_teacher.output_head import OutputHead
from stage1_teacher.teacher_model import load_teacher
from stage1_teacher.teacher_proof import prove_teacher
from tests.tiny import tiny_teacher


def load(folder: Path, **settings):
    return load_teacher(EngineSettings(model=folder, device="cpu", **settings))


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


def test_a_quantised_head_is_refused(tmp_path: Path) -> None:
    loaded = load(tiny_teacher(tmp_path / "m"))
    loaded.model.lm_head = torch.nn.Identity()
    with pytest.raises(ModelError, match="without a plain weight matrix"):
        OutputHead.of(loaded.model)
