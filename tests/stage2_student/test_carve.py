import pytest
import torch
import transformers

from schemas.errors import ConfigError, ModelError
from stage2_student.carve import carved_config, kept_tensors, layer_list
from tests.stage2_student.architectures import CONFIGS, build

KEPT = [0, 2, 3]


def carve(folder, model):
    name = layer_list(model)
    config = transformers.AutoConfig.from_pretrained(folder)
    return type(model).from_pretrained(
        None,
        config=carved_config(config, KEPT, name),
        state_dict=dict(kept_tensors(folder, KEPT, name)),
        dtype=torch.float32,
        output_loading_info=True,
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_a_carved_model_has_the_kept_layers_and_all_the_rest(tmp_path, name):
    model = build(name)
    model.save_pretrained(tmp_path)
    carved, info = carve(tmp_path, model)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    layers = layer_list(model)
    expected = model.state_dict()
    for key, tensor in carved.state_dict().items():
        if key.startswith(f"{layers}."):
            number, rest = key.removeprefix(f"{layers}.").split(".", 1)
            key = f"{layers}.{KEPT[int(number)]}.{rest}"
        assert torch.equal(tensor, expected[key]), key
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (carved.get_output_embeddings().weight is carved.get_input_embeddings().weight) == tied


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_a_carved_model_computes_what_the_kept_layers_compute(tmp_path, name):
    """The twin drops modules of the whole model in memory."""
    model = build(name).eval()
    model.save_pretrained(tmp_path)
    carved, _ = carve(tmp_path, model)
    parent, _, attribute = layer_list(model).rpartition(".")
    layers = model.get_submodule(layer_list(model))
    kept = torch.nn.ModuleList([layers[i] for i in KEPT])
    setattr(model.get_submodule(parent), attribute, kept)
    text = model.config.get_text_config()
    if getattr(text, "layer_types", None):
        text.layer_types = [text.layer_types[i] for i in KEPT]
    text.num_hidden_layers = len(KEPT)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        left = model(ids, use_cache=False).logits
        right = carved.eval()(ids, use_cache=False).logits
    assert torch.allclose(left, right, atol=1e-6)


def test_lists_by_layer_are_cut_and_other_lists_of_that_length_are_not():
    config = transformers.Gemma3TextConfig(
        num_hidden_layers=4,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
        eos_token_id=[1, 2, 3, 4],
    )
    carved = carved_config(config, KEPT, "layers")
    assert carved.layer_types == ["sliding_attention"] * 2 + ["full_attention"]
    assert carved.eos_token_id == [1, 2, 3, 4]
    assert (carved.num_hidden_layers, config.num_hidden_layers) == (3, 4)


def test_a_layer_that_is_not_there_is_refused():
    config = transformers.LlamaConfig(num_hidden_layers=4)
    with pytest.raises(ConfigError, match=r"has 4 layers.*has 4\. Choose among 0 to 3"):
        carved_config(config, [0, 4], "model.layers")


def test_layers_named_by_number_are_refused():
    config = transformers.Qwen2MoeConfig(num_hidden_layers=4, mlp_only_layers=[1])
    with pytest.raises(ModelError, match="mlp_only_layers"):
        carved_config(config, [0, 2], "model.layers")


def test_a_checkpoint_without_safetensors_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no \*.safetensors"):
        dict(kept_tensors(tmp_path, [0], "model.layers"))


def test_tensors_of_other_layers_are_never_read(tmp_path):
    model = build("llama")
    model.save_pretrained(tmp_path)
    names = [name for name, _ in kept_tensors(tmp_path, [3], "model.layers")]
    assert {n.split(".")[2] for n in names if ".layers." in n} == {"0"}
    assert len(names) < len(model.state_dict()) / 2
