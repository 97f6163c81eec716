"""Weights by the teacher's certainty, against its dense distribution."""

import numpy as np
import pytest
import torch

from stage2_student.teacher_weights import weighed
from tests.stage2_student.dense_twin import make_case
from tests.stage2_student.head_cases import constant_stretches


def factor(case, by):
    return weighed(case.targets, by).weights_N / case.targets.weights_N


def entropy(case):
    p_NV = torch.softmax(case.teacher_NV, 1)
    return -(p_NV * p_NV.log()).sum(1)


def test_none_changes_nothing():
    case = make_case()
    assert weighed(case.targets, "none") is case.targets


def test_confidence_is_the_largest_probability():
    case = make_case(min_kept=1)
    expected = torch.softmax(case.teacher_NV, 1).amax(1)
    torch.testing.assert_close(factor(case, "confidence"), expected.float().double(), rtol=1e-5,
                               atol=0)  # fmt: skip


def test_entropy_is_exact_where_all_is_kept():
    case = make_case(top_k=50)
    torch.testing.assert_close(
        factor(case, "entropy").double(), entropy(case), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_entropy_through_the_sample_is_exact_on_average(seed):
    make = {"rows": 1, "top_k": 3, "samples": 4, "seed": seed}
    mean = sum(
        share * float(factor(make_case(**make, offset=offset), "entropy"))
        for offset, share in constant_stretches(**make)
    )
    assert mean == pytest.approx(float(entropy(make_case(**make, offset=0))), rel=1e-5)


def test_entropy_without_draws_is_a_lower_bound_with_the_tail_as_one_outcome():
    case = make_case(samples=0)
    found = factor(case, "entropy").numpy()
    p_tail = case.targets.tail_logmass_N[1.0].exp().numpy()
    assert (found < entropy(case).numpy()).all()
    assert (found > entropy(case).numpy() - p_tail * np.log(50)).all()
