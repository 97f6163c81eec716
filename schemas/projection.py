"""The fixed matrix of a dump whose hidden states were projected: projection.npy.

Shapes: D width of the teacher's hidden states, W width of the stored ones.
"""

import hashlib
import io

import numpy as np
import numpy.typing as npt

from schemas import layout
from schemas.dump_folder import DumpFolder
from schemas.errors import DamagedError
from schemas.manifest import Capture

Floats = npt.NDArray[np.float32]


def read_projection(dump: DumpFolder) -> Floats | None:
    """The matrix [D, W]: stored state = state · matrix; None when states are stored as they were.

    Raises:
        DamagedError: it is missing, or not the one that the manifest names.
    """
    capture = dump.manifest.capture
    if capture.hidden_projection is None:
        return None
    return projection_of(dump.read_bytes(layout.PROJECTION), capture)


def projection_of(data: bytes, capture: Capture) -> Floats | None:
    """The matrix in the bytes of projection.npy.

    Raises:
        DamagedError: they are not what the manifest names.
    """
    held = capture.hidden_projection
    if held is None:
        return None
    found = projection_sha256(data)
    if found != held.sha256:
        raise DamagedError(
            f"{layout.PROJECTION} was altered or cut short: {found}, expected {held.sha256}. "
            "Take a fresh copy of that file."
        )
    try:
        return _parsed(data, (capture.hidden_width or 0, held.width))
    except ValueError as error:
        raise DamagedError(
            f"{layout.PROJECTION} is not the matrix that the manifest names: {error}. The dump was "
            "written by something broken: dump again."
        ) from error


def projection_sha256(data: bytes) -> str:
    """`sha256:<hex>` of the file, as the manifest names it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _parsed(data: bytes, shape: tuple[int, int]) -> Floats:
    """Reads the NPY format, version 1.0, without numpy's own loader: nothing is unpickled."""
    source = io.BytesIO(data)
    version = np.lib.format.read_magic(source)  # type: ignore[no-untyped-call]
    if version != (1, 0):
        raise ValueError(f"version {version} of the NPY format instead of (1, 0)")
    header = np.lib.format.read_array_header_1_0(source)  # type: ignore[no-untyped-call]
    if header != (shape, False, np.dtype("<f4")):
        raise ValueError(f"{header} instead of float32 {shape}, row by row")
    matrix: Floats = np.frombuffer(data, "<f4", offset=source.tell()).reshape(shape)
    if not np.isfinite(matrix).all():
        raise ValueError("it holds a number that is not finite")
    return matrix
