"""Every loss of HIDDEN_LOSSES against its formula, number by number in fp64."""

import math

import pytest
import torch

from stage2_student.hidden_losses import HIDDEN_LOSSES
from stage2_student.state_signals import StateSignals

N, W = 5, 7


def signals(dtype=torch.float64, positions=N, seed=0) -> StateSignals:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    sizes = torch.logspace(-2, 2, W, dtype=torch.float64).to(dtype)
    return StateSignals(
        student_NW=(draw(positions, W) * sizes).requires_grad_(),
        teacher_NW=draw(positions, W) * sizes,
        spread_W=sizes * (1 + draw(W).abs()),
    )


def mse(s, t, spread):
    return sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / len(s)


def cosine(s, t, spread):
    product = sum(a * b for a, b in zip(s, t, strict=True))
    return 1 - product / math.sqrt(sum(a * a for a in s) * sum(b * b for b in t))


def normalised(s, t, spread):
    return sum(((a - b) / u) ** 2 for a, b, u in zip(s, t, spread, strict=True)) / len(s)


TWINS = {"hidden_mse": mse, "hidden_cosine": cosine, "hidden_normalised": normalised}


@pytest.mark.parametrize("loss", HIDDEN_LOSSES)
def test_values_are_the_twins(loss):
    given = signals()
    rows = zip(given.student_NW.tolist(), given.teacher_NW.tolist(), strict=True)
    expected = [TWINS[loss](s, t, given.spread_W.tolist()) for s, t in rows]
    found = HIDDEN_LOSSES[loss].compute(given)
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", HIDDEN_LOSSES)
def test_gradcheck(loss):
    given = signals(seed=1)

    def compute(student_NW):
        return HIDDEN_LOSSES[loss].compute(
            StateSignals(
                student_NW=student_NW, teacher_NW=given.teacher_NW, spread_W=given.spread_W
            )
        )

    assert torch.autograd.gradcheck(compute, (given.student_NW,), atol=1e-6)


@pytest.mark.parametrize("loss", HIDDEN_LOSSES)
def test_equal_states_cost_nothing_and_others_something(loss):
    given = signals()
    same = StateSignals(
        student_NW=given.teacher_NW, teacher_NW=given.teacher_NW, spread_W=given.spread_W
    )
    assert HIDDEN_LOSSES[loss].compute(same).abs().max() < 1e-12
    assert HIDDEN_LOSSES[loss].compute(given).min() > 1e-3


@pytest.mark.parametrize("loss", HIDDEN_LOSSES)
def test_no_position_and_a_state_of_zeros_give_finite_gradients(loss):
    compute = HIDDEN_LOSSES[loss].compute
    assert compute(signals(positions=0)).shape == (0,)
    given = signals()
    zeros = torch.zeros(N, W, dtype=torch.float64, requires_grad=True)
    found = compute(
        StateSignals(student_NW=zeros, teacher_NW=given.teacher_NW, spread_W=given.spread_W)
    )
    (gradient,) = torch.autograd.grad(found.sum(), zeros)
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(found).all()


def test_only_directions_count_for_the_cosine():
    given = signals()
    longer = StateSignals(
        student_NW=3 * given.student_NW, teacher_NW=given.teacher_NW, spread_W=given.spread_W
    )
    compute = HIDDEN_LOSSES["hidden_cosine"].compute
    torch.testing.assert_close(compute(longer), compute(given))


def test_no_channel_counts_more_for_being_large():
    """One is the loss of a student that knows every channel's mean and nothing else."""
    generator = torch.Generator().manual_seed(2)
    sizes = torch.logspace(-3, 3, W, dtype=torch.float64)
    teacher_NW = torch.randn(4000, W, generator=generator, dtype=torch.float64) * sizes + 5 * sizes
    spread_W = teacher_NW.std(0)
    found = HIDDEN_LOSSES["hidden_normalised"].compute(
        StateSignals(
            student_NW=teacher_NW.mean(0).expand(4000, W), teacher_NW=teacher_NW, spread_W=spread_W
        )
    )
    assert float(found.mean()) == pytest.approx(1, rel=1e-3)
