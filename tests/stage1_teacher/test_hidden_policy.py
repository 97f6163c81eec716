import hashlib

import pytest

from schemas.errors import ConfigError
from schemas.manifest import Capture
from stage1_teacher.hidden_policy import check_layers, check_projection, with_widths
from stage1_teacher.projection import projection_file, projection_matrix
from tests.dumps import hidden_policy


def test_layers_up_to_the_last_one():
    check_layers(["0", "2", "last"], 2)
    check_layers(["last"], 0)
    with pytest.raises(ConfigError, match=r"hidden layer 3 .* to 2, and last"):
        check_layers(["0", "3", "last"], 2)


def test_a_projection_is_narrower():
    check_projection(None, 8)
    check_projection(7, 8)
    with pytest.raises(ConfigError, match=r"hidden_projection 8 .* width 8 narrower"):
        check_projection(8, 8)


def test_the_policy_learns_the_widths():
    assert with_widths(Capture(), 8, None) == Capture()
    wide = with_widths(hidden_policy(width=1), 8, None)
    assert (wide.hidden_width, wide.hidden_projection, wide.stored_width) == (8, None, 8)
    assert with_widths(hidden_policy(), 8, None, 30).hidden_depth == 30
    narrow = with_widths(hidden_policy(width=1), 8, 3)
    assert (narrow.hidden_width, narrow.stored_width) == (8, 3)
    digest = hashlib.sha256(projection_file(projection_matrix(8, 3))).hexdigest()
    assert narrow.hidden_projection.sha256 == f"sha256:{digest}"
