import numpy as np
import pytest
import torch

from stage1_teacher.tail_sample import draw_tail

WIDTH = 8


def draw(probabilities: np.ndarray, kept: list[int], offsets: np.ndarray, samples: int):
    """Draws at one position under many offsets: rows and ids."""
    padded = np.zeros(-(-len(probabilities) // WIDTH) * WIDTH)
    padded[: len(probabilities)] = probabilities
    padded[kept] = 0
    weights = torch.tensor(padded, dtype=torch.float32).view(1, -1, WIDTH)
    weights = weights.expand(len(offsets), -1, -1).contiguous()
    totals = torch.full((len(offsets),), float(probabilities.sum()), dtype=torch.float64)
    drawn = draw_tail(weights, weights.sum(-1), totals, torch.tensor(offsets), samples)
    return [values.numpy() for values in drawn]


@pytest.mark.parametrize("samples", [1, 4, 64])
def test_draws_are_unbiased(samples: int) -> None:
    rng = np.random.default_rng(samples)
    p = rng.dirichlet(np.full(50, 0.3))
    kept = np.argsort(-p)[:3].tolist()
    count = 4000
    _, ids = draw(p, kept, (np.arange(count) + 0.5) / count, samples)
    mean = np.bincount(ids, minlength=50) / count
    expected = samples * p
    expected[kept] = 0
    # an entry is drawn when a point falls into its interval: the grid of offsets misses by one
    np.testing.assert_allclose(mean, expected, atol=2 / count)


def test_importance_weights_give_the_tail_at_another_temperature() -> None:
    gaps = np.random.default_rng(0).normal(size=60) * 2
    gaps -= gaps.max()
    p1, p2 = (np.exp(gaps / t) / np.exp(gaps / t).sum() for t in (1, 2))
    kept = np.argsort(-p1)[:5].tolist()
    _, ids = draw(p1, kept, (np.arange(5000) + 0.5) / 5000, 16)
    estimate = (p2[ids] / (16 * p1[ids])).sum() / 5000
    np.testing.assert_allclose(estimate, np.delete(p2, kept).sum(), rtol=2e-3)


def test_draws_come_in_order_and_never_from_the_kept() -> None:
    p = np.full(40, 1 / 40)
    kept = [0, 7, 8, 39]
    rows, ids = draw(p, kept, np.random.default_rng(1).random(50), 100)
    assert not set(ids) & set(kept)
    assert (np.diff(rows * 100 + ids) >= 0).all()
    assert set(np.bincount(rows)) <= {90, 91}


def test_points_on_an_edge_take_the_next_entry() -> None:
    p = np.array([0.25, 0.25, 0.25, 0.25])
    _, ids = draw(p, [0], np.zeros(1), 4)
    assert ids.tolist() == [1, 2, 3]


@pytest.mark.parametrize("offset", [0.0, 0.5, 1 - 2**-53])
def test_extreme_offsets_stay_inside(offset: float) -> None:
    p = np.random.default_rng(2).dirichlet(np.full(30, 0.05))
    kept = [int(p.argmax())]
    for samples in (1, 3, 1000):
        _, ids = draw(p, kept, np.array([offset]), samples)
        assert not set(ids) & set(kept)
        assert (p[ids] > 0).all()


def test_nothing_is_drawn_without_a_tail_or_without_samples() -> None:
    assert not len(draw(np.array([1.0]), [0], np.zeros(3), 64)[1])
    assert not len(draw(np.full(8, 1 / 8), [0], np.zeros(3), 0)[1])
