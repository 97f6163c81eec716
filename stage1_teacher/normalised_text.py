"""Texts with what does not matter between two wordings of the same taken away."""

import unicodedata


def normalised(text: str) -> str:
    """Unicode's compatibility form, without case, white space as single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
