"""Reliability bins: their edges, and the error against the obvious sum."""

import numpy as np
import pytest

from stage2_student.calibration import BINS, Calibration
from tests.stage2_student.evaluation_twin import calibration_error


def test_the_error_is_the_obvious_one_in_any_portions() -> None:
    random = np.random.default_rng(0)
    confidences, corrects = random.random(500), (random.random(500) < 0.6).astype(float)
    calibration = Calibration()
    for part in np.array_split(np.arange(500), 7):
        calibration.add(confidences[part], corrects[part])
    expected = calibration_error(confidences.tolist(), corrects.tolist())
    assert calibration.error == pytest.approx(expected)


def test_edges_belong_to_the_lower_bin_and_everything_to_some_bin() -> None:
    calibration = Calibration()
    calibration.add(np.asarray([0.0, 1 / BINS, 1.0, 1.0 + 1e-6]), np.ones(4))
    assert [own.count for own in calibration.bins] == [2, *[0] * (BINS - 2), 2]


def test_nothing_added() -> None:
    assert Calibration().error == 0
    assert all(own.confidence == own.accuracy == 0 for own in Calibration().bins)
