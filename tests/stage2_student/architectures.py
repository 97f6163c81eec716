"""Tiny configurations of several architectures, four layers each."""

import torch
import transformers

_SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**_SHAPE),
    "llama tied": lambda: transformers.LlamaConfig(**_SHAPE, tie_word_embeddings=True),
    "qwen2": lambda: transformers.Qwen2Config(
        **_SHAPE, use_sliding_window=True, max_window_layers=2, sliding_window=4
    ),
    "mistral": lambda: transformers.MistralConfig(**_SHAPE, sliding_window=4),
    "gemma2": lambda: transformers.Gemma2Config(
        **_SHAPE, sliding_window=4, query_pre_attn_scalar=8, final_logit_softcapping=4.0
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **_SHAPE,
        sliding_window=4,
        query_pre_attn_scalar=8,
        layer_types=[f"{kind}_attention" for kind in ("sliding", "sliding", "full", "sliding")],
    ),
    "granite": lambda: transformers.GraniteConfig(**_SHAPE, logits_scaling=0.4),
    "mixtral": lambda: transformers.MixtralConfig(**_SHAPE, num_local_experts=4),
    "qwen3": lambda: transformers.Qwen3Config(**_SHAPE),
    "phi": lambda: transformers.PhiConfig(  # a head with a bias
        **{k: v for k, v in _SHAPE.items() if k not in ("head_dim", "num_key_value_heads")}
    ),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=97, n_embd=32, n_layer=4, n_head=4, n_positions=64, **_IDS
    ),
    "mamba": lambda: transformers.MambaConfig(
        vocab_size=97, hidden_size=32, num_hidden_layers=4, state_size=8, **_IDS
    ),
}
SEPARATES = [name for name in CONFIGS if name != "mamba"]
"""Those whose attention can be told where a document of a packed row begins."""


def build(name: str, seed: int = 0):
    """A model with weights large enough that everything it does can be seen in its output."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[name]())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5)
    return model
