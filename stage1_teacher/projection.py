"""A fixed orthonormal matrix that makes hidden states narrower, the same to the bit everywhere.

Kac's walk: the first W columns of the identity are turned, rounds after rounds, by random angles in
random pairs of rows. Every step is one that IEEE 754 fixes to the bit (no sine, no sum whose order
a library chooses), so every worker of a dump, on any machine, has the same matrix.

Shapes: D width of the teacher's hidden states, W width of the stored ones.
"""

import io
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_SEED = 20_240_229
_FULL = np.float64(2**64)


def projection_matrix(width: int, narrow: int) -> Floats:
    """[D, W] with orthonormal columns: it keeps scalar products of states up to about 1/√W.

    Source: Jain, Pillai, Sah, Sawhney, Smith, "Fast and memory-optimal dimension reduction using
    Kac's walk" (2020): O(log D) rounds of pairs suffice.
    """
    numbers = np.random.PCG64(_SEED)
    matrix = np.eye(width, narrow)
    for _ in range(2 * math.ceil(math.log2(max(2, width))) + 8):
        order = np.argsort(numbers.random_raw(width), kind="stable")
        tangents = 2 * (numbers.random_raw(width // 2) / _FULL)[:, None] - 1
        first, second = order[: width // 2], order[width // 2 : 2 * (width // 2)]
        scale = 1 + tangents * tangents
        cosines, sines = (1 - tangents * tangents) / scale, 2 * tangents / scale
        above, below = matrix[first], matrix[second]
        matrix[first] = cosines * above - sines * below
        matrix[second] = sines * above + cosines * below
    return matrix.astype(np.float32)


def projection_file(matrix: Floats) -> bytes:
    """The bytes of projection.npy."""
    sink = io.BytesIO()
    np.save(sink, matrix.astype("<f4"), allow_pickle=False)
    return sink.getvalue()
