"""Every codec on one screen; a dump's manifest names the one it was written with."""

from collections.abc import Callable
from dataclasses import dataclass

from schemas import codec_gap5
from schemas.codec_gap5 import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How numbers are rounded before they are stored; stored numbers need no decoder.

    `round_logits` takes and gives logits relative to their maximum, `round_logmass` log masses,
    `bound` the largest error allowed per entry.
    """

    round_logits: Callable[[Floats], Floats]
    round_logmass: Callable[[Floats], Floats]
    bound: Callable[[Floats], Floats]


CODECS: dict[str, Codec] = {
    "gap5": Codec(
        round_logits=codec_gap5.round_logits,
        round_logmass=codec_gap5.round_logmass,
        bound=codec_gap5.bound,
    ),
}
