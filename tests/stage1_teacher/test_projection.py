import hashlib

import numpy as np
import pytest

from stage1_teacher.projection import projection_file, projection_matrix


@pytest.mark.parametrize(("width", "narrow"), [(2, 1), (7, 3), (576, 64), (577, 300)])
def test_columns_are_orthonormal(width: int, narrow: int) -> None:
    matrix = projection_matrix(width, narrow).astype(np.float64)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(narrow), atol=1e-6)


def test_it_is_the_same_to_the_bit_everywhere() -> None:
    """A golden hash: the plan of a dump names it, and workers on other machines must agree."""
    found = hashlib.sha256(projection_file(projection_matrix(576, 64))).hexdigest()
    assert found == "072772ac235001f22d4019f301c6a06e4af2d9d94aee11a674ff3640c8a5ac4c"


def test_scalar_products_are_kept() -> None:
    """Johnson and Lindenstrauss: an error of about 1/√W, also for states with massive channels."""
    rng = np.random.default_rng(0)
    states = rng.standard_normal((60, 576))
    states[:, 5] *= 30
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    narrow = states @ projection_matrix(576, 128) * np.sqrt(576 / 128)
    assert np.abs(narrow @ narrow.T - states @ states.T).std() < 1.5 / np.sqrt(128)


def test_every_element_counts_about_alike() -> None:
    shares = (projection_matrix(576, 64).astype(np.float64) ** 2).sum(1) * 576 / 64
    assert shares.min() > 0.4 and shares.max() < 2
