"""Codec `gap5`: logits as rounded gaps to the position's largest logit, tail masses on a log grid.

A gap g = max − logit ≥ 0 is rounded to the nearest 1/32 below 1, and to 5 mantissa bits of its
float32 from there on; so the error of every entry is at most max(1/64, g/64). float32 with zeroed
mantissa bits, not float16: DuckDB refuses BYTE_STREAM_SPLIT on float16, and zeroed bits compress
away. FORMAT.md section "Codec gap5" is the specification.
"""

import numpy as np
import numpy.typing as npt

from schemas.array_pool import POOL
from schemas.errors import DamagedError

Floats = npt.NDArray[np.float32]

TAIL_FLOOR = np.float32(np.log(1e-9))
"""Tail masses below 1e-9 are stored as 1e-9: fp32 sums cannot tell them from zero."""


_ONE = np.float32(1)
_STEPS = np.float32(1 << 18)
_BLOCK = 1 << 15
"""Entries rounded at once, so that the temporaries stay in the processor's cache."""


def round_logits(logits: Floats) -> Floats:
    """Rounds logits that are relative to their position's maximum (≤ 0), within `bound`.

    Raises:
        DamagedError: an entry is positive, not finite, or further off than the bound.
    """
    rounded = POOL.empty(logits.shape, np.float32)
    source, target = logits.reshape(-1), rounded.reshape(-1)
    for start in range(0, source.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        _round_into(source[block], target[block])
    return rounded


def _round_into(logits: Floats, target: Floats) -> None:
    """Rounds a block; both roundings are made for every gap, and each leaves the other's alone.

    Above 1 the first one gives the gap less 1, below it 0; the second one gives 1 and the gap.
    Adding 2^18, where neighbouring float32 are 1/32 apart, rounds to that, ties to even.
    """
    gaps = np.negative(logits, dtype=np.float32)
    if not (gaps.min() >= 0 and gaps.max() < np.inf):
        raise DamagedError(
            "captured logits must be finite and at most 0 (relative to their maximum); found "
            f"{logits.max()} … {logits.min()}. The engine gave bad numbers; try --dtype float32."
        )
    bits = np.maximum(gaps, _ONE).view(np.uint32)
    bits += np.uint32(0x20000)
    bits &= np.uint32(0xFFFC0000)
    rounded: Floats = bits.view(np.float32)
    rounded -= _ONE
    small = np.minimum(gaps, _ONE)
    small += _STEPS
    small -= _STEPS
    rounded += small
    _check(gaps, rounded)
    np.subtract(np.float32(0), rounded, out=target)


def bound(logits: Floats) -> Floats:
    """The largest error that `round_logits` may make on each entry: max(1/64, |logit|/64)."""
    scale: Floats = np.abs(logits)
    np.maximum(scale, _ONE, out=scale)
    scale *= np.float32(1 / 64)
    return scale


def _check(gaps: Floats, rounded: Floats) -> None:
    errors = rounded - gaps
    if np.any(np.abs(errors, out=errors) > bound(gaps)):
        raise DamagedError("codec gap5 broke its own bound: this is a bug, please report it.")


def round_logmass(logmass: Floats) -> Floats:
    """Rounds log masses (≤ 0): grid 1/256 below −1/2, 8 mantissa bits above, floor log 1e-9.

    Near 0 the kept probability is 1 − exp(x) ≈ −x, so a relative grid keeps *its* relative error
    at 1/512 too.

    Raises:
        DamagedError: a mass is not a number, or leaves nothing for the kept entries.
    """
    if logmass.size and not logmass.max() < 0:
        raise DamagedError(
            f"captured tail masses must be below 0 (log of a share); found {logmass.max()}. "
            "The engine gave bad numbers; try --dtype float32."
        )
    clipped = np.clip(logmass, TAIL_FLOOR, 0).astype(np.float32)
    bits = clipped.view(np.uint32)
    near = ((bits + np.uint32(0x4000)) & np.uint32(0xFFFF8000)).view(np.float32)
    grid = np.rint(clipped * np.float32(256)) / np.float32(256)
    return np.where(clipped > -0.5, near, grid).astype(np.float32)
