"""Regular expressions of users: compiled with a clear error, and never given more than a second.

The package `regex` is used, whose patterns are those of `re` and more, because it can be told to
stop: an expression such as `(a+)+b` takes longer than the universe has on some texts.
"""

from collections import deque
from typing import Any

from schemas.errors import ConfigError

SECONDS = 1.0
"""The longest that one expression may look at one text: seconds of this process's CPU time."""


def compiled(expression: str, option: str) -> Any:
    """A compiled pattern of the package `regex`.

    Raises:
        ConfigError: it is no regular expression; `option` is named.
    """
    import regex  # type: ignore[import-untyped]

    try:
        return regex.compile(expression)
    except regex.error as error:
        raise ConfigError(
            f"{option} is no regular expression: {error}; found {expression!r}. "
            "Correct it; a character that means itself is written with a backslash before it."
        ) from error


def last_match(pattern: Any, text: str) -> Any | None:
    """The last match of a pattern in a text, or None.

    Raises:
        TimeoutError: the expression took longer than `SECONDS`.
    """
    return next(iter(deque(pattern.finditer(text, timeout=SECONDS), maxlen=1)), None)
