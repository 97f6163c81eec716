"""Means and the bootstrap's interval."""

import numpy as np
import pytest

from stage2_student.metrics import MetricSums, bootstrap
from stage2_student.position_measures import PositionMeasures


def measures(kl: np.ndarray) -> PositionMeasures:
    ones = np.ones(len(kl))
    return PositionMeasures(
        cross_entropy=2 * ones,
        teacher_cross_entropy=ones,
        kl=kl,
        kl_bucket=kl / 2,
        agrees=ones,
        confidence=ones / 2,
        correct=ones,
        teacher_confidence=ones,
        teacher_correct=ones,
    )


def test_the_interval_covers_as_often_as_it_says() -> None:
    """95 % of intervals hold the true mean, for documents of different length."""
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        counts = random.integers(5, 50, 60).astype(float)
        sums = counts * 0.3 + random.standard_normal(60) * np.sqrt(counts)
        low, high = bootstrap(sums, counts, seed=trial)
        hits += low < 0.3 < high
    assert 0.90 < hits / 200 < 0.985


def test_documents_are_drawn_whole() -> None:
    """Positions of one document that agree with each other carry no more than one draw."""
    random = np.random.default_rng(1)
    kls = random.standard_normal(30)
    together, apart = MetricSums(), MetricSums()
    for number, kl in enumerate(kls):
        for part in range(20):
            one = measures(np.full(1, kl))
            together.add(f"d{number}", one, slice(0, 1))
            apart.add(f"d{number}-{part}", one, slice(0, 1))
    wide, narrow = together.metrics(), apart.metrics()
    assert wide.kl == pytest.approx(kls.mean())
    assert wide.kl_high - wide.kl_low > 3 * (narrow.kl_high - narrow.kl_low)
    assert (wide.documents, narrow.documents) == (30, 600)


def test_windows_of_a_document_join_and_one_document_has_an_interval() -> None:
    sums = MetricSums()
    sums.add("a", measures(np.asarray([1.0, 3.0])), slice(0, 1))
    sums.add("a", measures(np.asarray([1.0, 3.0])), slice(1, 2))
    found = sums.metrics()
    assert (found.positions, found.documents, found.kl) == (2, 1, 2.0)
    assert (found.kl_low, found.kl_high, found.kl_bucket) == (2.0, 2.0, 1.0)


def test_a_huge_cross_entropy_has_a_finite_perplexity() -> None:
    sums = MetricSums()
    one = measures(np.ones(1))
    one.cross_entropy[0] = 1e6
    sums.add("a", one, slice(0, 1))
    assert np.isfinite(sums.metrics().perplexity)
