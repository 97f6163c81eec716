"""A dump's own tokenizer, for showing its ids as text; nothing of it is executed."""

from collections.abc import Sequence
from typing import Any, Protocol

from schemas import layout
from schemas.errors import DamagedError
from schemas.tokenizer_fingerprint import FILE


class Companions(Protocol):
    """Where a dump's companion files come from: another dump, or what an import was given."""

    @property
    def url(self) -> str:
        """For messages."""
        ...

    def names(self, folder: str) -> Sequence[str]:
        """Names of the files in tokenizer/ or preview/."""
        ...

    def read_bytes(self, name: str) -> bytes:
        """The content of one of them."""
        ...

    def read_text(self, name: str) -> str:
        """The same as text."""
        ...


def dump_tokenizer(dump: Companions) -> Any:
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
