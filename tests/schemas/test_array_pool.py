"""Memory is used again, and never while anything can still see it."""

import gc
import threading

import numpy as np
import pyarrow as pa
import pytest
import torch

from schemas.array_pool import SMALLEST, ArrayPool

SHAPE = (SMALLEST // 4, 4)


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def test_memory_comes_back_when_the_last_tensor_is_gone() -> None:
    pool = ArrayPool()
    array = pool.empty(SHAPE, np.float32)
    place = address(array)
    part = torch.from_numpy(array).view(-1)[5:9]
    del array
    gc.collect()
    other = pool.empty(SHAPE, np.float32)
    assert address(other) != place, "a view of the tensor is still there"
    part.fill_(7)
    del part
    assert address(pool.empty(SHAPE, np.float32)) == place


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array[5:9],
        lambda array: array.reshape(-1)[7:].view(np.int32),
        lambda array: torch.from_numpy(array[3:]),
        lambda array: pa.array(array.reshape(-1)[3:]),
    ],
    ids=["part", "part of another shape and kind", "tensor of a part", "arrow of a part"],
)
def test_a_view_keeps_the_memory(view) -> None:
    pool = ArrayPool()
    array = pool.empty(SHAPE, np.float32)
    place, kept = address(array), view(array)
    del array
    gc.collect()
    other = pool.empty(SHAPE, np.float32)
    assert address(other) != place
    del kept
    gc.collect()
    assert address(pool.empty(SHAPE, np.float32)) == place


def test_arrays_in_use_never_overlap() -> None:
    pool = ArrayPool()
    held: list[torch.Tensor] = []
    random = np.random.default_rng(0)
    for number in range(300):
        size = int(random.integers(SMALLEST // 4, SMALLEST))
        array = pool.empty((size,), np.float32)
        array.fill(number)
        held.append(torch.from_numpy(array))
        if len(held) > 8:
            gone = held.pop(int(random.integers(len(held))))
            assert len(gone.unique()) == 1
    assert len({tensor[0].item() for tensor in held}) == len(held)
    assert all(len(tensor.unique()) == 1 for tensor in held)


def test_small_arrays_are_not_kept_and_others_are_bounded() -> None:
    pool = ArrayPool()
    pool.empty((10,), np.int64)
    assert not pool._free
    arrays = [pool.empty(SHAPE, np.int64) for _ in range(150)]
    arrays.clear()
    assert len(pool._free) == 128


def test_several_threads() -> None:
    pool = ArrayPool()
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(200):
            array = pool.empty(SHAPE, np.float32)
            array.fill(number)
            if (array != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
