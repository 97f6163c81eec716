"""What the conversion of a GGUF's tokenizer loses, put back.

A GGUF names its pre-tokenizer (`tokenizer.ggml.pre`) instead of holding it, and transformers gives
byte-level BPE vocabularies the pre-tokenizer of GPT-2, or that of the architecture. With another
one, text falls into other tokens than in training: digits merge with the blanks before them, say.
"""

from collections.abc import Callable, Mapping
from typing import Any

from stage1_teacher.gguf_header import Value

_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _gpt2() -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _single_digits() -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _llama3() -> Any:
    return _split(rf"{_CONTRACTION}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}")


def _qwen2() -> Any:
    return _split(rf"{_CONTRACTION}|{_WORDS}|\p{{N}}|{_REST}")


def _split(pattern: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([split, bytes_only])


PRE_TOKENIZERS: Mapping[str, Callable[[], Any]] = {
    **dict.fromkeys(("gpt-2", "mpt", "olmo", "jais"), _gpt2),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), _single_digits
    ),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), _llama3),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen"), _qwen2),
}
"""By the name in `tokenizer.ggml.pre`; the regular expressions are those of the models' own
tokenizer.json, as llama.cpp's `llama-vocab.cpp` groups them."""


def restore(tokenizer: Any, values: Mapping[str, Value], context: int | None) -> str:
    """Corrects a converted tokenizer in place; gives a warning, or an empty string.

    Args:
        tokenizer: transformers' conversion.
        values: the GGUF's header.
        context: longest sequence that the model takes.
    """
    if context is not None:
        tokenizer.model_max_length = context
    if "tokenizer.ggml.add_bos_token" in values:
        _set_bos(tokenizer, bool(values["tokenizer.ggml.add_bos_token"]))
    if values.get("tokenizer.ggml.model") != "gpt2":
        return ""
    name = str(values.get("tokenizer.ggml.pre", "unnamed"))
    if name in PRE_TOKENIZERS:
        tokenizer.backend_tokenizer.pre_tokenizer = PRE_TOKENIZERS[name]()
        return ""
    return (
        f"the GGUF's pre-tokenizer {name!r} is not known here; the conversion's own stays, and "
        "text may fall into other tokens than in the teacher's training. Take the tokenizer.json "
        "of the original model if you can."
    )


def _set_bos(tokenizer: Any, wanted: bool) -> None:
    """Lets the tokenizer put BOS before a text, or not, as the GGUF says."""
    from tokenizers import processors

    backend, bos = tokenizer.backend_tokenizer, tokenizer.bos_token
    if bos is None or (backend.encode("a").ids[0] == tokenizer.bos_token_id) == wanted:
        return
    start = f"{bos} " if wanted else ""
    backend.post_processor = processors.TemplateProcessing(
        single=f"{start}$A",
        pair=f"{start}$A {start}$B:1",
        special_tokens=[(bos, tokenizer.bos_token_id)] if wanted else [],
    )
