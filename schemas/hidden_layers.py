"""Which hidden state an id means, and the order that ids stand in.

"0" is what enters the first layer, "n" the output of layer n before the final norm (also of the
last layer), "last" what the head reads: the last layer's output after the final norm.
"""

import re
from collections.abc import Iterable

LAST = "last"
LAYER = re.compile(r"^(0|[1-9][0-9]{0,4}|last)$")


def sorted_layers(layers: Iterable[str]) -> list[str]:
    """Each id once, by depth."""
    return sorted(set(layers), key=depth)


def depth(layer: str) -> float:
    """How many layers a state has passed; `last` is deeper than any number."""
    return float("inf") if layer == LAST else float(layer)
