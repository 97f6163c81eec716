"""The student's tokenizer: its own, proven to be the dump's, or the dump's."""

from pathlib import Path
from typing import Any

from schemas import layout
from schemas.dump_folder import DumpFolder
from schemas.errors import DamagedError, MismatchError, ModelError
from schemas.tokenizer_fingerprint import folder_fingerprint, tokenizer_fingerprint

_OWN = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
_TEMPLATE = "chat_template.jinja"


def own_tokenizer(folder: Path, dump: DumpFolder, trust_remote_code: bool) -> Any | None:
    """The tokenizer in a checkpoint's folder; None when it has none.

    Raises:
        MismatchError: it is not the one that the dump was made with.
    """
    if not any((folder / name).is_file() for name in _OWN):
        return None
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # a broken file raises whatever its parser does
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"the student's tokenizer in {folder} cannot be loaded: {reason} Take a fresh copy of "
            "the checkpoint; if it runs Python code of its own, read it and give "
            "--trust-remote-code."
        ) from error
    own, theirs = _fingerprint(folder, tokenizer), dump.manifest.tokenizer.fingerprint
    if own != theirs:
        raise MismatchError(
            f"the student's tokenizer is not the one that {dump.url} was made with:\n"
            f"  student {own} ({folder})\n  dump    {theirs}\n"
            "Ids would mean different tokens. Take a student with the teacher's tokenizer, or one "
            "from scratch (--student-config)."
        )
    return tokenizer


def _fingerprint(folder: Path, tokenizer: Any) -> str:
    """A tokenizer without tokenizer.json was converted while loading; then its backend counts."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if (folder / "tokenizer.json").is_file() or backend is None:
        return folder_fingerprint(folder)
    return tokenizer_fingerprint(backend.to_str())


def dump_tokenizer(dump: DumpFolder, chat_template: bool) -> Any:
    """The tokenizer that the dump holds: its tokenizer.json alone, which is data and no program.

    Args:
        dump: untrusted, as every dump.
        chat_template: also take its chat template.

    Raises:
        DamagedError: there is none, or it cannot be read.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    text = dump.read_text(f"{layout.TOKENIZER}/tokenizer.json")
    try:
        inner = Tokenizer.from_str(text)
    except Exception as error:  # the Rust library raises nothing narrower
        raise DamagedError(
            f"{layout.TOKENIZER}/tokenizer.json in {dump.url} cannot be read: {error}. Take a "
            "fresh copy of the dump."
        ) from error
    special = dump.manifest.tokenizer.special_tokens
    names = {name: inner.id_to_token(number) for name, number in special.items()}
    roles = {n: t for n, t in names.items() if n in ("bos_token", "eos_token", "pad_token") and t}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **roles)
    if chat_template:
        tokenizer.chat_template = dump.read_text(f"{layout.TOKENIZER}/{_TEMPLATE}")
    return tokenizer
