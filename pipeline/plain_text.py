"""Text from strangers (corpora, models, dumps) made harmless for a terminal or a page."""

import unicodedata


def visible(text: str) -> str:
    r"""The text with every control, formatting and unassigned character written as an escape.

    So nothing of a sample moves the cursor, colours the terminal or turns the writing direction;
    a line end becomes `\n`, an escape character `\x1b`.
    """
    return "".join(_visible(character) for character in text)


def visible_lines(text: str) -> str:
    """The same, but line ends and tabs stay."""
    return "".join(c if c in "\n\t" else _visible(c) for c in text)


def _visible(character: str) -> str:
    if unicodedata.category(character)[0] != "C" and character not in "\u2028\u2029":
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
