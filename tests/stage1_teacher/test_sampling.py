"""Draws against the exact distribution, and against nothing else in the batch."""

import numpy as np
import pytest
import torch

from stage1_teacher.completions import Sampling
from stage1_teacher.sampling import draw_tokens
from stage1_teacher.uniforms import uniforms

LOGITS = torch.tensor([1.0, -2.0, 3.0, 2.5, -0.5, 1.0, 0.0, 2.0])
DRAWS = 20_000


def exact(temperature: float, top_p: float) -> np.ndarray:
    """The smallest set of most probable tokens that reaches top_p, renormalised."""
    logits = LOGITS.double().numpy() / temperature
    shares = np.exp(logits) / np.exp(logits).sum()
    order = np.lexsort((np.arange(len(shares)), -shares))
    count = int(np.searchsorted(np.cumsum(shares[order]), top_p - 1e-12)) + 1
    kept = np.zeros_like(shares)
    kept[order[:count]] = shares[order[:count]]
    return kept / kept.sum()


def p_value(counts: np.ndarray, expected: np.ndarray) -> float:
    """Of Pearson's chi-square test."""
    statistic = float(((counts - expected) ** 2 / expected).sum())
    half = torch.tensor((len(counts) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(half, torch.tensor(statistic / 2, dtype=torch.float64)))


def drawn(temperature: float, top_p: float, points: np.ndarray) -> np.ndarray:
    rows = LOGITS.expand(len(points), -1)
    return draw_tokens(rows, torch.from_numpy(points), temperature, top_p).numpy()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("top_p", [0.3, 0.6, 0.95, 1.0])
def test_draws_have_the_exact_distribution(temperature: float, top_p: float) -> None:
    sampling = Sampling(seed=7)
    keys = np.array([sampling.seed_of(f"row{n}") for n in range(DRAWS)], np.uint64)
    points = uniforms(keys, np.full(DRAWS, 3, np.int32))
    counts = np.bincount(drawn(temperature, top_p, points), minlength=len(LOGITS))
    expected = exact(temperature, top_p) * DRAWS
    assert (counts[expected == 0] == 0).all()
    possible = expected > 0
    if possible.sum() > 1:
        assert p_value(counts[possible], expected[possible]) > 1e-3


def test_the_exact_distribution_is_told_from_a_close_one() -> None:
    points = uniforms(Sampling(seed=7).seed_of("x"), np.arange(DRAWS, dtype=np.int32))
    counts = np.bincount(drawn(1.0, 1.0, points), minlength=len(LOGITS))
    assert p_value(counts, exact(1.05, 1.0) * DRAWS) < 1e-3


def test_one_steps_points_are_independent_of_the_next_ones() -> None:
    points = uniforms(Sampling(seed=1).seed_of("x"), np.arange(DRAWS, dtype=np.int32))
    counts, _ = np.histogram(points, bins=50, range=(0, 1))
    assert p_value(counts, np.full(50, DRAWS / 50)) > 1e-3
    assert abs(np.corrcoef(points[1:], points[:-1])[0, 1]) < 0.03


def test_temperature_zero_takes_the_most_probable() -> None:
    points = np.array([0.0, 0.5, 0.999])
    assert drawn(0.0, 1.0, points).tolist() == [2, 2, 2]


@pytest.mark.parametrize("top_p", [0.5, 1.0])
def test_the_ends_of_the_unit_interval_draw_what_is_possible(top_p: float) -> None:
    points = np.array([0.0, np.nextafter(1.0, 0.0)])
    possible = np.flatnonzero(exact(1.0, top_p))
    assert set(drawn(1.0, top_p, points)) <= set(possible)


def test_seeds_are_those_of_the_seed_and_the_prompt() -> None:
    seeds = {Sampling(seed=s).seed_of(i) for s in (0, 1) for i in ("a", "b", "a/s1")}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)
