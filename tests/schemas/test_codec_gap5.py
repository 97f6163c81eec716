"""The codec's promises, on every kind of number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from schemas.codec_gap5 import TAIL_FLOOR, bound, round_logits, round_logmass
from schemas.errors import DamagedError

gaps = arrays(
    np.float32,
    st.integers(1, 64),
    elements=st.floats(0, 2.0**127, width=32) | st.floats(0, 64, width=32),
)
masses = arrays(
    np.float32, st.integers(1, 64), elements=st.floats(-50, -1.1754943508222875e-38, width=32)
)


@given(gaps)
def test_every_entry_is_within_the_bound(values: np.ndarray) -> None:
    rounded = round_logits(-values)
    exact = values.astype(np.float64)
    assert np.all(np.abs(-rounded - exact) <= np.maximum(1 / 64, exact / 64))
    assert np.all(bound(-values) <= np.maximum(1 / 64, exact / 64) * (1 + 1e-6))


@given(gaps)
def test_rounding_keeps_the_order_and_is_done_once(values: np.ndarray) -> None:
    descending = -np.sort(values)
    rounded = round_logits(descending)
    assert np.all(np.diff(rounded) <= 0)
    assert np.array_equal(round_logits(rounded), rounded)


@given(gaps)
def test_five_mantissa_bits_are_left_above_one(values: np.ndarray) -> None:
    rounded = round_logits(-values)
    large = rounded[rounded <= -1]
    assert not np.any(large.view(np.uint32) & 0x3FFFF)


@pytest.mark.parametrize(
    ("gap", "stored"),
    [
        (0.0, 0.0),
        (1 / 64, 0.0),  # a tie goes to the even side
        (3 / 64, 2 / 32),
        (np.nextafter(np.float32(1), np.float32(0)), 1.0),
        (1.0, 1.0),
        (1 + 1 / 64, 1 + 1 / 32),  # ties go away from zero above 1
        (63.9, 64.0),
        (1e30, None),
    ],
)
def test_known_gaps(gap: float, stored: float | None) -> None:
    found = round_logits(np.array([-gap], np.float32))[0]
    if stored is None:
        assert abs(-found / gap - 1) <= 1 / 64
    else:
        assert found == -stored
    assert not (found == 0 and np.signbit(found)), "negative zero"


def test_every_bit_is_what_the_format_page_says() -> None:
    """FORMAT.md section 5, an entry at a time: all magnitudes, and around every power of two."""
    patterns = np.random.default_rng(0).integers(0, 0x7F000000, 3000, np.uint32)
    powers = np.exp2(np.arange(-30, 126)).astype(np.float32)
    ties = np.arange(0, 70, 1 / 128, np.float32)
    gaps = np.concatenate([patterns.view(np.float32), powers, np.nextafter(powers, 0), ties])
    expected = [_by_the_page(gap) for gap in gaps]
    assert (-round_logits(-gaps)).tolist() == expected


def _by_the_page(gap: np.float32) -> float:
    if gap < 1:
        return float(np.rint(gap * np.float32(32)) / 32)
    bits = (int(gap.view(np.uint32)) + 0x20000) & 0xFFFC0000
    return float(np.uint32(bits).view(np.float32))


@pytest.mark.parametrize("bad", [0.5, np.nan, -np.inf, np.inf])
def test_numbers_that_are_no_gaps_are_refused(bad: float) -> None:
    values = np.full(40_000, -1, np.float32)
    values[20_001] = bad
    with pytest.raises(DamagedError, match="engine gave bad numbers"):
        round_logits(values)


def test_the_bound_is_checked_on_every_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec that is one bit coarser than it promises must not get through."""
    import schemas.codec_gap5 as codec

    monkeypatch.setattr(codec, "bound", lambda x: np.full_like(x, 1 / 128))
    with pytest.raises(DamagedError, match="its own bound"):
        round_logits(np.array([-0.5, -3.02], np.float32))


def test_any_shape_and_none_at_all() -> None:
    assert round_logits(np.zeros((3, 5), np.float32)).shape == (3, 5)
    assert round_logits(np.zeros(0, np.float32)).shape == (0,)
    assert round_logmass(np.zeros(0, np.float32)).shape == (0,)


@given(masses)
def test_masses_keep_their_precision(values: np.ndarray) -> None:
    rounded = round_logmass(values).astype(np.float64)
    exact = np.maximum(values.astype(np.float64), float(TAIL_FLOOR))
    assert np.all(np.abs(rounded - exact) <= np.maximum(1 / 512, -exact / 512))
    assert np.all(rounded < 0)


@given(masses)
def test_the_kept_share_keeps_its_precision(values: np.ndarray) -> None:
    """Also near mass 1, where the kept share 1 − exp(x) is tiny."""
    values = values[(values > -20) & (values < -1e-30)].astype(np.float64)
    rounded = round_logmass(values.astype(np.float32)).astype(np.float64)
    share, found = -np.expm1(values), -np.expm1(rounded)
    assert np.all(np.abs(found / share - 1) <= 1 / 250)


def test_the_floor() -> None:
    values = np.array([-1e30, -30, TAIL_FLOOR], np.float32)
    assert len(set(round_logmass(values).tolist())) == 1
    assert np.exp(round_logmass(values)[0]) == pytest.approx(1e-9, rel=1 / 256)


@pytest.mark.parametrize("bad", [0.0, 0.1, np.nan])
def test_masses_that_leave_nothing_are_refused(bad: float) -> None:
    with pytest.raises(DamagedError, match="below 0"):
        round_logmass(np.array([-1, bad], np.float32))
