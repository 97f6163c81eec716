"""The transform against what transformers' own models do to their logits."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from stage2_student.logit_transform import LogitTransform, logit_transform

SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODELS = {
    "llama": ({}, LogitTransform()),
    "gemma2": ({"head_dim": 8, "final_logit_softcapping": 0.5}, LogitTransform(softcap=0.5)),
    "cohere": ({"logit_scale": 0.25}, LogitTransform(scale=0.25)),
    "granite": ({"logits_scaling": 8.0}, LogitTransform(scale=0.125)),
}


@pytest.mark.parametrize("architecture", MODELS)
def test_equals_the_model_itself(architecture):
    special, expected = MODELS[architecture]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(architecture, **SMALL, **special)
    ).eval()
    transform = logit_transform(model.config)
    assert transform == expected
    with torch.no_grad():
        ids = torch.arange(6)[None]
        hidden = model.base_model(ids).last_hidden_state * 3
        raw = model.get_output_embeddings()(hidden) * transform.scale
        model.base_model.forward = lambda *_, **__: type(
            "Output", (), {"last_hidden_state": hidden, "past_key_values": None,
                           "hidden_states": None, "attentions": None},
        )()  # fmt: skip
        torch.testing.assert_close(transform.cap_(raw), model(ids).logits)


def test_the_softcaps_slope():
    transform = LogitTransform(softcap=3.0)
    scaled = torch.linspace(-9, 9, 13, dtype=torch.float64, requires_grad=True)
    logits = 3.0 * torch.tanh(scaled / 3.0)
    (expected,) = torch.autograd.grad(logits.sum(), scaled)
    ones = torch.ones(13, dtype=torch.float64)
    torch.testing.assert_close(transform.uncap_gradient_(ones, logits.detach()), expected)
