"""Weights of kinds of segments as users write them: `answer=2,rationale=0.5`."""

import math
from collections.abc import Sequence

from schemas.errors import ConfigError


def kind_weights(written: Sequence[str], option: str = "token_weights") -> dict[str, float]:
    """The weights by kind.

    Args:
        written: one `kind=weight` each.
        option: where they were written.

    Raises:
        ConfigError: one is no such pair, no weight, or names a kind again.
    """
    found: dict[str, float] = {}
    for entry in written:
        kind, _, number = (part.strip() for part in entry.partition("="))
        weight = _number(number)
        if not kind or weight is None or kind in found:
            problem = "names a kind again" if kind in found else "is no kind=weight"
            raise ConfigError(
                f"{option}: {entry!r} {problem}. Give kinds of segments and what they weigh, a "
                f"number from 0, as in --{option.replace('_', '-')} answer=2,rationale=0.5."
            )
        found[kind] = weight
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None
