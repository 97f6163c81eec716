"""Codecs of hidden states: `int8` with two scales, or `bf16` as it is; every one on one screen.

int8: x ≈ code · scale[token] · channel, a channel's scale being the median of its absolute values
over a row group (small channels share one), and a token's scale what fits its largest x / channel
into ±127. A few channels of a transformer are many times as large as the others, and a few tokens
have one that is hundreds of times as large again: a scale per token alone would leave the others
nothing, and a channel's largest value is no measure of it. FORMAT.md section 7 specifies it.

Shapes: N tokens, W elements of a stored state.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import DamagedError

Bits = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]
Parts = Mapping[str, npt.NDArray[Any]]
"""What is stored of N states, by the ending of its column's name."""

INT8_BOUND = 1 / 16
"""The largest relative error of int8, mean over the tokens of a row group, that is written."""

_MOST = np.float32(127)
_BLOCK = 1 << 16
"""Elements worked on at once, so that the temporaries stay in the processor's cache."""

_MEDIAN_TOKENS = 1024
"""Tokens that the channels' medians are taken over, spread evenly over the row group."""

_SMALLEST = np.float32(1e-30)


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenCodec:
    """How hidden states are stored.

    `encode` takes states [N, W] of one layer and row group, as bfloat16 bits or float32, and
    raises DamagedError when they are not finite or lose too much; `decode` gives float32 [N, W].
    """

    encode: Callable[[Bits | Floats], Parts]
    decode: Callable[[Parts], Floats]


def encode_bf16(states_NW: Bits | Floats) -> Parts:
    """Upper and lower bytes apart, as upper ones compress and lower ones do not."""
    halves = _bits(states_NW)
    _check_finite(halves)
    octets = np.ascontiguousarray(halves, dtype="<u2").view(np.uint8).reshape(*halves.shape, 2)
    return {"": octets[..., 1].copy(), "_low": octets[..., 0].copy()}


def decode_bf16(parts: Parts) -> Floats:
    """The upper half of every float32."""
    octets = np.zeros((*parts[""].shape, 4), np.uint8)
    octets[..., 3] = parts[""].view(np.uint8)
    octets[..., 2] = parts["_low"].view(np.uint8)
    return octets.view("<f4")[..., 0]


def encode_int8(states_NW: Bits | Floats) -> Parts:
    """Codes int8 [N, W], scales float32 [N] of the tokens and [W] of the channels.

    Medians of very few tokens may say nothing; then all channels are alike.
    """
    errors = []
    for channels in (_channel_scales(states_NW), np.ones(states_NW.shape[1], np.float32)):
        parts, error = _encoded(states_NW, channels)
        if error <= INT8_BOUND:
            return parts
        errors.append(error)
    raise DamagedError(
        f"hidden states lose {min(errors):.2g} of their size in int8, more than {INT8_BOUND:.2g}. "
        "Dump with --hidden-codec bf16."
    )


def decode_int8(parts: Parts) -> Floats:
    """Each code times its token's scale times its channel's."""
    states = parts[""].view(np.int8).astype(np.float32)
    states *= parts["_scales"][:, None]
    states *= parts["_channels"]
    return states


HIDDEN_CODECS: dict[str, HiddenCodec] = {
    "int8": HiddenCodec(encode=encode_int8, decode=decode_int8),
    "bf16": HiddenCodec(encode=encode_bf16, decode=decode_bf16),
}


def _encoded(states_NW: Bits | Floats, channels: Floats) -> tuple[Parts, float]:
    """What is stored, and the tokens' mean relative error."""
    codes = np.empty(states_NW.shape, np.int8)
    scales = np.empty(len(states_NW), np.float32)
    errors = np.empty(len(states_NW), np.float32)
    for rows in _blocks(states_NW):
        block = _floats(states_NW[rows])
        scales[rows], codes[rows], errors[rows] = _encode_block(block, channels)
    parts: Parts = {"": codes, "_scales": scales, "_channels": channels}
    return parts, float(errors.mean(dtype=np.float64))


def _encode_block(block: Floats, channels: Floats) -> tuple[Floats, Floats, Floats]:
    """Scales, codes as whole numbers, and every token's relative error."""
    scaled = block / channels
    largest = np.maximum(scaled.max(-1), -scaled.min(-1))
    if not np.isfinite(largest).all():
        raise _not_finite()
    scales = np.where(largest > _SMALLEST, largest / _MOST, np.float32(0))
    factors = np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)
    codes = np.rint(np.multiply(scaled, factors[:, None], out=scaled))
    lost = np.multiply(codes, channels, out=scaled)
    lost *= scales[:, None]
    lost -= block
    norms = np.maximum(_norms(block), _SMALLEST)
    return scales, codes, _norms(lost) / norms


def _norms(states_NW: Floats) -> Floats:
    norms: Floats = np.sqrt(np.einsum("nw,nw->n", states_NW, states_NW))
    return norms


def _channel_scales(states_NW: Bits | Floats) -> Floats:
    """[W] medians of |x|, none below the median channel's.

    Where small channels had their own, smaller scales, a rare value in one of them would set the
    token's scale, and every other channel would pay for it.
    """
    step = max(1, -(-len(states_NW) // _MEDIAN_TOKENS))
    sizes = np.abs(_floats(states_NW[::step])).T.copy()
    middle = (sizes.shape[1] - 1) // 2
    medians = np.partition(sizes, middle, axis=1)[:, middle]
    scales: Floats = np.maximum(medians, max(np.median(medians), _SMALLEST)).astype(np.float32)
    return scales


def _floats(states_NW: Bits | Floats) -> Floats:
    if states_NW.dtype == np.float32:
        return states_NW  # type: ignore[return-value]
    return (states_NW.astype(np.uint32) << 16).view(np.float32)


def _bits(states_NW: Bits | Floats) -> Bits:
    """float32 as bfloat16, to the nearest, ties to even."""
    if states_NW.dtype == np.uint16:
        return states_NW  # type: ignore[return-value]
    if not np.isfinite(states_NW).all():
        raise _not_finite()
    bits = states_NW.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _blocks(states_NW: Bits | Floats) -> Iterator[slice]:
    step = max(1, _BLOCK // max(1, states_NW.shape[1]))
    for start in range(0, len(states_NW), step):
        yield slice(start, start + step)


def _check_finite(halves: Bits) -> None:
    if halves.size and (halves & np.uint16(0x7FFF)).max() >= 0x7F80:
        raise _not_finite()


def _not_finite() -> DamagedError:
    return DamagedError(
        "captured hidden states must be finite numbers; found infinity or NaN. "
        "The engine gave bad numbers; try --dtype float32."
    )
