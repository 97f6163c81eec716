"""Tiny seeded teachers with a tokenizer and a chat template, written to a folder in a second.

Their numbers mean nothing, but every part of a real teacher is there: byte-level BPE, special
tokens, a template with a default system block, softcapping or logit scaling, a padded head.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are tiny.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SHAPE = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": 3,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "gemma2": (
        "Gemma2Config",
        {"final_logit_softcapping": 4.0, "query_pre_attn_scalar": 8, "sliding_window": 16},
    ),
    "granite": ("GraniteConfig", {"logits_scaling": 0.4, "embedding_multiplier": 3.0}),
    "cohere": ("CohereConfig", {"logit_scale": 2.0}),
}


def tiny_teacher(
    folder: Path,
    *,
    vocabulary: int = 384,
    architecture: str = "llama",
    seed: int = 0,
    chat_template: str | None = CHAT_TEMPLATE,
    bos: bool = False,
    **config: Any,
) -> Path:
    """Saves a float32 model and its tokenizer to `folder`; further words go into its config.

    Args:
        folder: made if it is missing.
        vocabulary: number of logits per position; the tokenizer has at most 8 fewer.
        architecture: llama, gemma2 (softcapped logits), granite or cohere (scaled logits).
        seed: of the weights.
        chat_template: None for a base model.
        bos: whether the tokenizer puts <s> before every text.
        config: fields of the transformers configuration, such as num_hidden_layers=4.
    """
    import torch
    import transformers

    name, settings = _CONFIGS[architecture]
    shape = {**_SHAPE, "max_position_embeddings": 256, **settings, **config}
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(
        getattr(transformers, name)(vocab_size=vocabulary, **shape), dtype=torch.float32
    )
    with torch.no_grad():  # the usual 0.02 gives nearly uniform distributions
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(15)
    model.save_pretrained(folder)
    tiny_tokenizer(vocabulary - 8, chat_template=chat_template, bos=bos).save_pretrained(folder)
    return folder


def tiny_tokenizer(
    size: int = 376, *, chat_template: str | None = CHAT_TEMPLATE, bos: bool = False
) -> Any:
    """Byte-level BPE of at most `size` tokens: four special ones, 256 bytes, some merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_training_text(), trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 3)]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<|endoftext|>",
        bos_token="<s>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        model_max_length=256,
    )
    fast.chat_template = chat_template
    return fast


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A .jsonl corpus."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def _training_text() -> Iterator[str]:
    for noun in ("stone", "river", "garden", "number", "teacher", "student", "answer"):
        for verb in ("finds", "counts", "shows", "carries"):
            yield f"The {noun} {verb} the other {noun}, and then there are two of them.\n"
