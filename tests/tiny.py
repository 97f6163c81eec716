"""Tiny seeded models with a byte-level tokenizer, saved as ordinary model folders."""

from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXT = [
    "the teacher shows the student what it knew at every position of the text ",
    "a still is filled once and drawn from for a long time, word after word ",
    "def add(a, b):\n    return a + b\n",
    "What is 12 plus 30? The answer is 42. user assistant system ",
]


def tiny_tokenizer(*, chat: bool = True, bos: bool = False, vocabulary: int = 320) -> Any:
    """A byte-level BPE tokenizer trained on a few lines; any text round-trips."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXT, trainer)
    if bos:
        core.post_processor = processors.TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


_SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_EXTRA: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 5.0, "sliding_window": 16},
    "gemma3_text": {"head_dim": 8, "sliding_window": 16},
    "granite": {"logits_scaling": 4.0},
    "cohere": {"logit_scale": 0.25},
}


def tiny_config(architecture: str = "llama", vocabulary: int = 320, **changes: Any) -> Any:
    """The configuration of a tiny model of a transformers model type."""
    from transformers import AutoConfig

    if architecture == "gpt2":
        shape: dict[str, Any] = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 256}
        shape |= {"bos_token_id": 1, "eos_token_id": 2}
    else:
        shape = {**_SHAPE, **_EXTRA[architecture]}
    return AutoConfig.for_model(architecture, vocab_size=vocabulary, **(shape | changes))


def tiny_model(architecture: str = "llama", seed: int = 0, **changes: Any) -> Any:
    """A seeded model with weights large enough that its distributions are not flat."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(tiny_config(architecture, **changes))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.3)
    return model.eval()


def tiny_teacher(
    folder: Path, architecture: str = "llama", *, seed: int = 0, chat: bool = True, bos: bool = False
) -> Path:
    """Saves a tiny model and its tokenizer to `folder` and gives it back."""
    tiny_model(architecture, seed).save_pretrained(folder)
    tiny_tokenizer(chat=chat, bos=bos).save_pretrained(folder)
    return folder
