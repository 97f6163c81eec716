"""A dump's own tokenizer, for showing its ids as text; nothing of it is executed."""

from typing import Any

from schemas import layout
from schemas.dump_folder import DumpFolder
from schemas.errors import DamagedError
from schemas.tokenizer_fingerprint import FILE


def dump_tokenizer(dump: DumpFolder) -> Any:
    """The tokenizer in tokenizer/tokenizer.json; None where the dump has none.

    Raises:
        DamagedError: it cannot be read.
    """
    if FILE not in dump.names(layout.TOKENIZER):
        return None
    from tokenizers import Tokenizer

    name = f"{layout.TOKENIZER}/{FILE}"
    try:
        return Tokenizer.from_str(dump.read_text(name))
    except Exception as error:  # tokenizers raises nothing more precise
        raise DamagedError(
            f"{name} in {dump.url} cannot be read: {error}. Take a fresh copy of it."
        ) from error
