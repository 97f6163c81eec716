from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.errors import DamagedError
from stage1_teacher.vllm_spool import append_states, take_states


def values(bits: np.ndarray) -> np.ndarray:
    return (np.asarray(bits).astype(np.uint32) << 16).view(np.float32)


def test_states_come_back_by_layer_and_the_file_goes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = [torch.randn(7, 3).bfloat16().float() for _ in range(2)]
    append_states(tmp_path, layers, [(5, 0, 2), (6, 2, 3)])
    append_states(tmp_path, layers, [(5, 6, 1)])
    found = take_states(tmp_path, 5, ["0", "last"], (3, 3))
    for name, states in zip(("0", "last"), layers, strict=True):
        np.testing.assert_array_equal(values(found[name]), states[[0, 1, 6]].numpy())
    assert [path.name for path in tmp_path.iterdir()] == ["6"]


def test_positions_behind_the_end_are_left_out(tmp_path: Path) -> None:
    append_states(tmp_path, [torch.ones(4, 2)], [(1, 0, 4)])
    assert take_states(tmp_path, 1, ["3"], (2, 2))["3"].shape == (2, 2)


@pytest.mark.parametrize("key", [1, 2])
def test_missing_positions_are_an_error(tmp_path: Path, key: int) -> None:
    append_states(tmp_path, [torch.ones(4, 2)], [(1, 0, 4)])
    with pytest.raises(DamagedError, match="of 5 positions"):
        take_states(tmp_path, key, ["3"], (5, 2))
