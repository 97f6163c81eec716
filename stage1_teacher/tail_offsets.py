"""The random offset of every position's systematic tail draw.

It depends on the seed, the sample's id and the absolute position only, so a dump does not depend on
batching, on the engine, or on which worker ran first.
"""

import hashlib

import numpy as np
import numpy.typing as npt


def tail_offsets(
    seed: int, sample_id: str, positions: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """[P] uniform offsets in [0, 1), one per position.

    splitmix64 (Steele, Lea, Flood 2014) of (first 8 bytes of sha256("seed:id")) + position·golden.
    """
    key = hashlib.sha256(f"{seed}:{sample_id}".encode()).digest()[:8]
    state = np.uint64(int.from_bytes(key, "little"))
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        mixed = state + (positions.astype(np.uint64) + np.uint64(1)) * golden
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
