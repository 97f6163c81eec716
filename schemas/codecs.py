"""Every codec on one screen; a dump's manifest names the one it was written with."""

from collections.abc import Callable
from dataclasses import dataclass

from schemas import codec_gap5
from schemas.codec_gap5 import Floats
from schemas.ranking import RANKED


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How numbers are rounded before they are stored; stored numbers need no decoder.

    `round_logits` takes and gives logits relative to their maximum, `round_logmass` log masses,
    `bound` the largest error allowed per entry.
    """

    round_logits: Callable[[Floats], Floats]
    round_logmass: Callable[[Floats], Floats]
    bound: Callable[[Floats], Floats]


PLAIN = "gap5"

_GAP5 = Codec(
    round_logits=codec_gap5.round_logits,
    round_logmass=codec_gap5.round_logmass,
    bound=codec_gap5.bound,
)

CODECS: dict[str, Codec] = {
    PLAIN: _GAP5,
    RANKED: _GAP5,  # the same numbers; ids are stored as ranks, see ranking.py
}


def rounding_of(name: str) -> str:
    """The codec whose numbers a codec stores: dumps of the same rounding can be read as one."""
    return PLAIN if name == RANKED else name
