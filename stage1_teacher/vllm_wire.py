"""Arrays as bytes between the processes of one machine: a JSON head, then the arrays' memory.

No pickle: what is read can only be numbers and text.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import DamagedError

_SIZE = 8
Arrays = Mapping[str, npt.NDArray[Any]]


def pack(head: Mapping[str, Any], arrays: Arrays) -> bytes:
    """One message: `head` is plain values, arrays are numbers of any shape."""
    shapes = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    text = json.dumps({"head": dict(head), "arrays": shapes}).encode()
    memory = [np.ascontiguousarray(array).tobytes() for array in arrays.values()]
    return b"".join([len(text).to_bytes(_SIZE, "little"), text, *memory])


def unpack(message: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """The head and the arrays, which are views of the message.

    Raises:
        DamagedError: it is not what `pack` wrote.
    """
    size = int.from_bytes(message[:_SIZE], "little")
    start, arrays = _SIZE + size, {}
    try:
        described = json.loads(message[_SIZE:start])
        for name, dtype, shape in described["arrays"]:
            count = int(np.prod(shape, dtype=np.int64))
            arrays[name] = np.frombuffer(message, dtype, count, start).reshape(shape)
            start += arrays[name].nbytes
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"vLLM's worker sent a message that is cut short: {error}.") from error
    return described["head"], arrays
