"""Codec `gap5`: logits as rounded gaps to the position's largest logit, tail masses on a log grid.

A gap g = max − logit ≥ 0 is rounded to the nearest 1/32 below 1, and to 5 mantissa bits of its
float32 from there on; so the error of every entry is at most max(1/64, g/64). float32 with zeroed
mantissa bits, not float16: DuckDB refuses BYTE_STREAM_SPLIT on float16, and zeroed bits compress
away. FORMAT.md section "Codec gap5" is the specification.
"""

import numpy as np
import numpy.typing as npt

from schemas.errors import DamagedError

Floats = npt.NDArray[np.float32]

TAIL_FLOOR = np.float32(np.log(1e-9))
"""Tail masses below 1e-9 are stored as 1e-9: fp32 sums cannot tell them from zero."""


_BLOCK = 1 << 14
"""Entries rounded at once, so that the temporaries stay in the processor's cache."""


def round_logits(logits: Floats) -> Floats:
    """Rounds logits that are relative to their position's maximum (≤ 0), within `bound`.

    Raises:
        DamagedError: an entry is positive, not finite, or further off than the bound.
    """
    rounded = np.empty_like(logits, dtype=np.float32)
    source, target = logits.reshape(-1), rounded.reshape(-1)
    for start in range(0, source.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        target[block] = _rounded(source[block])
    return rounded


def _rounded(logits: Floats) -> Floats:
    gaps = np.negative(logits, dtype=np.float32)
    if not (gaps.min() >= 0 and np.isfinite(gaps.max())):
        raise DamagedError(
            "captured logits must be finite and at most 0 (relative to their maximum); found "
            f"{logits.max()} … {logits.min()}. The engine gave bad numbers; try --dtype float32."
        )
    bits = gaps.view(np.uint32)
    large = ((bits + np.uint32(0x20000)) & np.uint32(0xFFFC0000)).view(np.float32)
    small = np.minimum(gaps, np.float32(1))
    rounded = np.where(gaps < 1, np.rint(small * np.float32(32)) / np.float32(32), large)
    _check(gaps, rounded)
    return np.float32(0) - rounded


def bound(logits: Floats) -> Floats:
    """The largest error that `round_logits` may make on each entry: max(1/64, |logit|/64)."""
    scale: Floats = np.maximum(np.abs(logits), np.float32(1))
    return scale / np.float32(64)


def _check(gaps: Floats, rounded: Floats) -> None:
    if np.any(np.abs(rounded - gaps) > bound(gaps)):
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
