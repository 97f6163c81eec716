"""The fused head where something is at its end: one entry, no mass, no position, no weight."""

import pytest
import torch

from stage2_student.distillation import distillation_loss
from tests.stage2_student.dense_twin import make_case
from tests.stage2_student.head_cases import (
    compare,
    objective,
    student,
)
from tests.stage2_student.loss_mixes import MIXES
from tests.stage2_student.test_distillation import TAILS


@pytest.mark.parametrize("tail", TAILS)
def test_one_kept_entry(tail):
    case = make_case(top_k=1)
    if tail == "renormalise":
        loss = distillation_loss(*student()[:2], case.targets, objective([("fkl", 1.0, 1.0, tail)]))
        assert loss.total.abs() < 1e-12
        return
    compare(case, student(), [("fkl", 1.0, 1.0, tail)])


@pytest.mark.parametrize("tail", TAILS[:3])
@pytest.mark.parametrize("sharpness", [400.0, 1e-3])
def test_tail_mass_at_its_floor_and_near_one(tail, sharpness):
    """A sure teacher has its tail at the floor of 1e-9; a flat one has nearly everything there."""
    case = make_case(top_k=2, vocabulary=400, sharpness=sharpness)
    mass = case.targets.tail_logmass_N[1.0].exp()
    assert mass.min() < 1.1e-9 if sharpness > 1 else mass.min() > 0.99
    compare(case, student(vocabulary=400), [("fkl", 1.0, 1.0, tail)], rtol=1e-7)


def test_a_tail_mass_of_exactly_one_stays_finite():
    case = make_case(dtype=torch.float32)
    case.targets.tail_logmass_N[1.0].zero_()
    loss = distillation_loss(*student(dtype=torch.float32)[:2], case.targets,
                             objective(MIXES["mix bucket"]))  # fmt: skip
    assert loss.total.isfinite()


@pytest.mark.parametrize("mix", ["fkl", "bucket", "warm mix"])
def test_a_student_without_any_mass_where_it_counts_stays_finite(mix):
    """Logits 1000 apart: q underflows at the kept entries, log q does not."""
    case = make_case(dtype=torch.float32)
    hidden, weight, bias = student(dtype=torch.float32)
    with torch.no_grad():
        bias[7] = 1000
    loss = distillation_loss(hidden, weight, case.targets, objective(MIXES[mix]), bias_V=bias)
    gradients = torch.autograd.grad(loss.total, [hidden, weight, bias])
    assert loss.total.isfinite()
    assert loss.total > 100
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_no_positions_give_zero_and_zero_gradients():
    inputs = student(rows=0)
    case = make_case(rows=3)
    empty = case.targets.block(slice(0, 0))
    ours = distillation_loss(*inputs[:2], empty, objective(MIXES["warm mix"]), bias_V=inputs[2])
    assert ours.total == 0
    assert ours.weight_sum == 0
    assert set(ours.terms) == {"fkl", "ce"}
    for gradient, leaf in zip(torch.autograd.grad(ours.total, inputs), inputs, strict=True):
        assert torch.equal(gradient, torch.zeros_like(leaf))


def test_positions_of_weight_zero_do_not_count():
    case = make_case()
    case.targets.weights_N[2:5] = 0
    hidden, weight, bias = student()
    ours = distillation_loss(hidden, weight, case.targets, objective(MIXES["mix"]))
    (gradient,) = torch.autograd.grad(ours.total, hidden)
    assert torch.equal(gradient[2:5], torch.zeros(3, 5, dtype=torch.float64))
    assert (gradient[[0, 1, 5, 6]] != 0).any(dim=1).all()
    compare(case, (hidden, weight, bias), MIXES["mix"])


def test_a_term_of_weight_zero_is_logged_and_not_learned():
    case, inputs = make_case(), student()
    alone = compare(case, inputs, MIXES["fkl"])
    logged = compare(case, inputs, [*MIXES["fkl"], ("ce", 0.0, 1.0, "none")])
    torch.testing.assert_close(alone.total, logged.total)
    assert logged.terms["ce"] > 0


def test_wrong_number_of_hidden_rows_is_refused():
    hidden, weight, _ = student(rows=6)
    with pytest.raises(ValueError, match=r"7 target positions.*rows_N"):
        distillation_loss(hidden, weight, make_case().targets, objective(MIXES["fkl"]))
