"""Uniform numbers from a key and a counter: the same on every machine, whatever else is drawn."""

from typing import Any

import numpy as np
import numpy.typing as npt


def uniforms(
    key: int | npt.NDArray[np.uint64], counters: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.float64]:
    """[P] uniform numbers in [0, 1), one per counter.

    splitmix64 (Steele, Lea, Flood 2014) of key + (counter + 1)·golden; a key has 64 bits, and there
    is one for all counters, or one for each.
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        mixed = np.uint64(key) + (counters.astype(np.uint64) + np.uint64(1)) * golden
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
