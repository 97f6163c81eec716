import numpy as np
import pytest

from schemas.errors import DamagedError
from stage1_teacher.vllm_wire import pack, unpack


def test_arrays_come_back_as_they_were() -> None:
    arrays = {
        "a": np.arange(6, dtype=np.int32).reshape(2, 3)[:, ::2],
        "b": np.zeros((0, 4), np.float32),
        "c": np.array([1.5, np.nan, -np.inf]),
    }
    head, found = unpack(pack({"width": 7, "name": "x"}, arrays))
    assert head == {"width": 7, "name": "x"}
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("cut", [4, 30, -1])
def test_a_message_cut_short_is_refused(cut: int) -> None:
    message = pack({}, {"a": np.arange(9)})
    with pytest.raises(DamagedError, match="cut short"):
        unpack(message[:cut])


def test_no_objects_travel() -> None:
    message = pack({}, {"a": np.arange(2)}).replace(b'"<i8"', b'"|O8"')
    with pytest.raises(DamagedError):
        unpack(message)
