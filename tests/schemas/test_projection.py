"""A projection is read only when it is the manifest's, and by no unpickling."""

import io
import pickle

import numpy as np
import pytest

from schemas.dump_folder import open_dump
from schemas.errors import DamagedError
from schemas.manifest import Capture, Projection
from schemas.projection import projection_of, projection_sha256, read_projection
from stage1_teacher.hidden_policy import with_widths
from stage1_teacher.projection import projection_file, projection_matrix
from tests.dumps import hidden_policy, write_dump


def policy(data: bytes, width: int = 6, narrow: int = 4) -> Capture:
    projection = Projection(width=narrow, sha256=projection_sha256(data))
    return hidden_policy(width=width).model_copy(update={"hidden_projection": projection})


def test_the_matrix_of_a_dump(tmp_path) -> None:
    dump = write_dump(tmp_path / "d", count=4, capture=with_widths(hidden_policy(), 6, 4))
    opened = open_dump(dump.path)
    found = read_projection(opened)
    np.testing.assert_array_equal(found, projection_matrix(6, 4))
    np.testing.assert_array_equal(found, np.load(dump.path / "projection.npy", allow_pickle=False))
    assert read_projection(open_dump(write_dump(tmp_path / "e", count=4).path)) is None
    (dump.path / "projection.npy").unlink()
    with pytest.raises(DamagedError, match="missing"):
        read_projection(opened)


def test_an_altered_one() -> None:
    data = projection_file(projection_matrix(6, 4))
    with pytest.raises(DamagedError, match="altered or cut short"):
        projection_of(data[:-1], policy(data))


def saved(array: np.ndarray, **words) -> bytes:
    sink = io.BytesIO()
    np.lib.format.write_array(sink, array, **words)
    return sink.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pickle.dumps([1.0]),
        saved(np.array([[1, 2]], object), allow_pickle=True),
        saved(np.zeros((6, 4))),
        saved(np.zeros((4, 6), np.float32)),
        saved(np.asfortranarray(np.zeros((6, 4), np.float32))),
        saved(np.zeros((6, 4), np.float32), version=(2, 0)),
        saved(np.full((6, 4), np.nan, np.float32)),
        saved(np.zeros((6, 4), np.float32))[:-4],
        saved(np.zeros((6, 4), np.float32)) + b"\0" * 4,
    ],
)
def test_a_file_of_another_kind_with_the_right_hash(data: bytes) -> None:
    with pytest.raises(DamagedError, match="not the matrix that the manifest names"):
        projection_of(data, policy(data))
