"""Large arrays whose memory is used again once nothing refers to them any more.

Row groups and batches need tens of megabytes, and fresh memory costs a page fault per page: between
a tenth and the whole of what making them costs, depending on how busy the machine's memory is.
"""

import threading
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

SMALLEST = 1 << 18
"""Bytes; the allocator itself reuses what is smaller."""

_MOST_FREE = 128
"""Buffers kept for later, the largest of some batches in flight."""


class ArrayPool:
    """Gives arrays; takes a buffer back when the array, and all that was made of it, is gone."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []
        self._lock = threading.RLock()  # a finalizer may run inside `_take`

    def copy(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A copy, so that the memory of the original can be let go."""
        array = self.empty(values.shape, values.dtype.type)
        np.copyto(array, values)
        return array

    def empty(self, shape: tuple[int, ...], kind: type[np.generic]) -> npt.NDArray[Any]:
        """An array that holds anything."""
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        if size < SMALLEST:
            return np.empty(shape, kind)
        buffer = self._take(size)
        # over memory that is no array itself: a view of an array over another array refers to that
        # other one alone, and would not keep `array`, so the memory would be given away under it
        array: npt.NDArray[Any] = np.ndarray(shape, kind, buffer)
        weakref.finalize(array, self._give, buffer).atexit = False
        return array

    def _take(self, size: int) -> bytearray:
        with self._lock:
            fitting = [n for n, own in enumerate(self._free) if size <= len(own) <= 2 * size]
            if fitting:
                return self._free.pop(min(fitting, key=lambda n: len(self._free[n])))
        return bytearray(size + size // 4)  # batches differ in size, so leave some room

    def _give(self, buffer: bytearray) -> None:
        with self._lock:
            self._free.append(buffer)
            del self._free[:-_MOST_FREE]


POOL = ArrayPool()
"""For row groups and batches alike."""
