import hashlib
import json
from pathlib import Path

import pytest

from schemas.errors import ModelError
from stage1_teacher.teacher import teacher_facts
from tests.tiny import tiny_teacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    return tiny_teacher(tmp_path_factory.mktemp("models") / "tiny-llama", vocabulary=400)


def test_facts_are_those_of_the_loaded_model(teacher: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(teacher)
    facts = teacher_facts(teacher)
    assert facts.name == "tiny-llama"
    assert facts.architecture == type(model).__name__
    assert facts.parameters == model.num_parameters()
    assert (facts.head_size, facts.hidden_size) == tuple(model.lm_head.weight.shape)
    assert (facts.layers, facts.context) == (2, 256)
    assert facts.revision is None and facts.quantization is None


def test_manifest_entry(teacher: Path) -> None:
    entry = teacher_facts(teacher).manifest("bfloat16", "mit", "ask first")
    content = (teacher / "model.safetensors").read_bytes()
    assert entry.weights == "sha256:" + hashlib.sha256(content).hexdigest()
    assert (entry.dtype, entry.license, entry.output_terms) == ("bfloat16", "mit", "ask first")


@pytest.mark.parametrize(
    "config", ["{", "{}", '{"model_type": "no-such-type"}', '{"model_type": "t5"}']
)
def test_an_unusable_configuration_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelError, match="cannot load"):
        teacher_facts(tmp_path)


def test_code_of_a_model_is_not_run_unasked(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    (tmp_path / "own.py").write_text(f"open({str(proof)!r}, 'w')\n")
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="--trust-remote-code"):
        teacher_facts(tmp_path)
    assert not proof.exists()


def test_weights_are_not_read(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((teacher / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not weights at all")
    assert teacher_facts(tmp_path).parameters == teacher_facts(teacher).parameters
