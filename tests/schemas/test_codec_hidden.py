"""What comes back of hidden states, and what is refused; int8 beside a slow twin in fp64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec_hidden
from schemas.codec_hidden import HIDDEN_CODECS, INT8_BOUND
from schemas.errors import DamagedError

INT8, BF16 = HIDDEN_CODECS["int8"], HIDDEN_CODECS["bf16"]


def make_states(tokens: int = 300, width: int = 96, seed: int = 0) -> np.ndarray:
    """Like a transformer's: channels a hundredfold apart, and one token with a massive value."""
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((tokens, width)) * np.geomspace(0.05, 5, width)
    states[0, 7] = 20_000
    return states.astype(np.float32)


def bits(states: np.ndarray) -> np.ndarray:
    return (states.view(np.uint32) >> 16).astype(np.uint16)


def floats(halves: np.ndarray) -> np.ndarray:
    return (halves.astype(np.uint32) << 16).view(np.float32)


def errors(states: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    return np.linalg.norm(decoded - states, axis=1) / np.linalg.norm(states, axis=1)


def test_bf16_comes_back_exactly() -> None:
    halves = bits(make_states())
    np.testing.assert_array_equal(BF16.decode(BF16.encode(halves)), floats(halves))


def test_float32_is_rounded_to_the_nearest_bf16_as_torch_does() -> None:
    import torch

    states = np.random.default_rng(1).standard_normal((500, 40)).astype(np.float32)
    states[0, :4] = [1 + 2**-8, 1 + 3 * 2**-8, 3.3895e38, -0.0]  # ties both ways, near overflow
    expected = torch.from_numpy(states).bfloat16().float().numpy()
    np.testing.assert_array_equal(BF16.decode(BF16.encode(states)), expected)


def test_int8_is_its_definition() -> None:
    states = make_states()
    parts = INT8.encode(states)
    channels, exact = parts["_channels"].astype(np.float64), states.astype(np.float64)
    medians = np.sort(np.abs(exact), axis=0)[(len(states) - 1) // 2]
    np.testing.assert_allclose(channels, np.maximum(medians, np.median(medians)), rtol=1e-6)
    scales = np.abs(exact / channels).max(1) / 127
    np.testing.assert_allclose(parts["_scales"], scales, rtol=1e-6)
    codes = exact / (scales[:, None] * channels)
    assert np.abs(parts[""] - codes).max() <= 0.5 + 1e-4
    assert np.abs(parts[""]).max() == 127
    decoded = INT8.decode(parts)
    bound = scales[:, None] * channels * (0.5 + 1e-4)
    assert (np.abs(decoded - exact) <= bound).all()


def test_int8_loses_about_a_percent_where_one_scale_per_token_loses_much_more() -> None:
    states = make_states()
    mean = errors(states, INT8.decode(INT8.encode(states)))[1:].mean()
    assert mean < 0.015
    per_token = np.abs(states).max(1, keepdims=True) / 127
    coarse = np.rint(states / per_token) * per_token
    assert errors(states, coarse)[1:].mean() > 1.2 * mean


def test_bits_and_floats_are_coded_alike() -> None:
    halves = bits(make_states())
    a, b = INT8.encode(halves), INT8.encode(floats(halves))
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    states = make_states()
    whole = INT8.encode(states)
    monkeypatch.setattr(codec_hidden, "_BLOCK", 96 * 7)
    parts = INT8.encode(states)
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("tokens", [1, 2, 3, 5])
def test_a_few_tokens_are_enough(tokens: int) -> None:
    states = make_states(2000)[1 : tokens + 1]
    assert errors(states, INT8.decode(INT8.encode(states))).max() < 0.04


def test_zeros_stay_zeros() -> None:
    states = make_states(20)
    states[3], states[:, 5] = 0, 0
    decoded = INT8.decode(INT8.encode(states))
    assert not decoded[3].any() and not decoded[:, 5].any()
    assert not INT8.decode(INT8.encode(np.zeros((4, 8), np.float32))).any()


@pytest.mark.parametrize("codec", HIDDEN_CODECS)
@pytest.mark.parametrize("bad", [0x7F800000, 0xFF800000, 0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_numbers_that_are_not_finite_are_refused(codec: str, bad: int) -> None:
    """Infinities and NaNs by their bits."""
    states = make_states(40)
    states.view(np.uint32)[17, 3] = bad
    for given_states in (states, bits(states)):
        with pytest.raises(DamagedError, match="finite numbers"):
            HIDDEN_CODECS[codec].encode(given_states)


def test_two_tokens_of_which_one_is_massive() -> None:
    """Medians say nothing here: all channels are alike then, and nothing is refused."""
    states = make_states(2, 64)
    states[0, 40:50] = 20_000
    parts = INT8.encode(states)
    assert errors(states, INT8.decode(parts)).mean() < INT8_BOUND


def test_states_that_int8_cannot_hold_are_refused_with_the_cure() -> None:
    """In every token one value outweighs the others, which matter together."""
    states = np.random.default_rng(0).standard_normal((300, 4096)).astype(np.float32)
    states += 300 * np.eye(300, 4096, dtype=np.float32)
    with pytest.raises(DamagedError, match="--hidden-codec bf16"):
        INT8.encode(states)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 24),
    st.floats(-30, 30),
    st.floats(0, 4),
    st.integers(0, 2**32 - 1),
)
def test_whatever_is_written_is_within_the_bound(tokens, width, size, spread, seed) -> None:
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((tokens, width)) * np.exp(size + spread * rng.random(width))
    states = states.astype(np.float32)
    try:
        parts = INT8.encode(states)
    except DamagedError:
        return
    decoded = INT8.decode(parts)
    assert np.isfinite(decoded).all()
    assert errors(states, decoded).mean() <= INT8_BOUND * (1 + 1e-3)
