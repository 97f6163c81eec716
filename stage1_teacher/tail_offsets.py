"""The random offset of every position's systematic tail draw.

It depends on the seed, the sample's id and the absolute position only, so a dump does not depend on
batching, on the engine, or on which worker ran first.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from stage1_teacher.uniforms import uniforms


def tail_offsets(
    seed: int, sample_id: str, positions: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """[P] uniform offsets in [0, 1), one per position of one sample."""
    return uniforms(tail_key(seed, sample_id), positions)


def tail_key(seed: int, sample_id: str) -> int:
    """The first 8 bytes of sha256("seed:id"), little endian: all of a sample's offsets follow."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{sample_id}".encode()).digest()[:8], "little")
