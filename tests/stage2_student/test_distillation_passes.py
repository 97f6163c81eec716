"""How the fused head computes: which passes, with what precision and memory, for which inputs."""

import pytest
import torch

from stage2_student.distillation import distillation_loss
from stage2_student.fused_head import HeadOptions
from stage2_student.fused_products import _COLUMNS
from tests.stage2_student.dense_twin import make_case, twin_loss
from tests.stage2_student.head_cases import (
    dense_logits,
    objective,
    student,
)
from tests.stage2_student.loss_mixes import MIXES


@pytest.mark.parametrize("frozen", [(0,), (1, 2), (0, 1), (0, 2), (1,)])
def test_frozen_inputs_get_no_gradient_and_change_no_other(frozen):
    case = make_case()
    inputs, free = student(), student()
    for index in frozen:
        inputs[index].requires_grad_(False)
    for leaves in (inputs, free):
        distillation_loss(
            *leaves[:2], case.targets, objective(MIXES["mix"]), bias_V=leaves[2]
        ).total.backward()
    for index, (ours, reference) in enumerate(zip(inputs, free, strict=True)):
        if index in frozen:
            assert ours.grad is None
        else:
            torch.testing.assert_close(ours.grad, reference.grad)


def test_without_gradients_only_the_forward_pass_runs(monkeypatch):
    case = make_case()
    hidden, weight, _ = student()
    terms = objective(MIXES["warm mix bucket"])
    expected = distillation_loss(hidden, weight, case.targets, terms)
    monkeypatch.setattr("stage2_student.fused_head.HeadGradients", None)
    with torch.no_grad():
        ours = distillation_loss(hidden, weight, case.targets, terms)
    assert not ours.total.requires_grad
    torch.testing.assert_close(ours.total, expected.total.detach())
    torch.testing.assert_close(ours.terms, expected.terms)


def test_accumulated_and_used_twice_in_a_step_with_a_tied_weight():
    """One matrix is embedding and head, the loss is called on two halves: gradients add up."""
    case = make_case(rows=8)
    table = torch.randn(50, 5, dtype=torch.float64, requires_grad=True)
    ids = torch.arange(8) * 3
    terms = objective(MIXES["mix"])
    for half in (slice(0, 3), slice(3, 8)):
        hidden = torch.tanh(table[ids[half]])
        distillation_loss(hidden, table, case.targets.block(half), terms).total.backward()
    accumulated = table.grad
    table.grad = None
    hidden = torch.tanh(table[ids])
    total = distillation_loss(hidden, table, case.targets, terms).total
    again = distillation_loss(hidden, table, case.targets, terms).total
    (total + again).backward()
    torch.testing.assert_close(table.grad, 2 * accumulated)
    twin = twin_loss(case, torch.tanh(table[ids]) @ table.t(), MIXES["mix"])
    torch.testing.assert_close(accumulated, torch.autograd.grad(twin, table)[0])


def test_fp32_is_as_exact_as_fp32_can_be():
    exact, single = make_case(rows=40, vocabulary=500), student(40, 500, 16, dtype=torch.float32)
    case = make_case(rows=40, vocabulary=500, dtype=torch.float32)
    double = [tensor.detach().double().requires_grad_() for tensor in single]
    ours = distillation_loss(
        *single[:2], case.targets, objective(MIXES["warm mix bucket"]), bias_V=single[2]
    )
    logits = dense_logits(*double, HeadOptions())
    twin = twin_loss(exact, logits, MIXES["warm mix bucket"])
    assert ours.total.dtype == torch.float32
    torch.testing.assert_close(ours.total.double(), twin, rtol=1e-5, atol=0)
    pairs = zip(
        torch.autograd.grad(ours.total, single), torch.autograd.grad(twin, double), strict=True
    )
    for gradient, reference in pairs:
        assert gradient.dtype == torch.float32
        difference = (gradient.double() - reference).abs().max()
        assert difference < 3e-6 * reference.abs().max()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("mix", ["fkl", "mix bucket", "ce"])
def test_bf16_is_no_worse_than_the_dense_way_in_bf16(autocast, mix, monkeypatch):
    """The tolerance is the dense twin's own error when its product runs in bf16, times 1.5."""
    monkeypatch.setitem(_COLUMNS, "cpu", 128)
    terms, rows, vocabulary, width = MIXES[mix], 64, 300, 32
    exact = make_case(rows, vocabulary)
    case = make_case(rows, vocabulary, dtype=torch.float32)
    low = student(rows, vocabulary, width, dtype=torch.bfloat16, scale=0.5)[:2]
    double = [tensor.detach().double().requires_grad_() for tensor in low]
    twin = twin_loss(exact, double[0] @ double[1].t(), terms)
    reference = torch.autograd.grad(twin, double)
    dense = twin_loss(exact, (low[0] @ low[1].t()).double(), terms)
    dense_gradients = torch.autograd.grad(dense, low)
    if autocast:
        low = [tensor.detach().float().requires_grad_() for tensor in low]
    options = HeadOptions(block_rows=20)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        ours = distillation_loss(*low, case.targets, objective(terms), options=options)
    assert ours.total.dtype == torch.float32
    bound = 1.5 * (dense.double() - twin).abs() + 1e-4 * twin.abs()
    assert (ours.total.double() - twin).abs() < bound
    gradients = torch.autograd.grad(ours.total, low)
    for gradient, rough, best, leaf in zip(gradients, dense_gradients, reference, low, strict=True):
        assert gradient.dtype == leaf.dtype
        assert (gradient.double() - best).norm() < 1.5 * (rough.double() - best).norm()


def test_float64_stays_float64_under_autocast():
    case, (hidden, weight, _) = make_case(), student()
    expected = distillation_loss(hidden, weight, case.targets, objective(MIXES["mix"])).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = distillation_loss(hidden, weight, case.targets, objective(MIXES["mix"])).total
    assert torch.equal(ours, expected)


def test_no_tensor_over_all_positions_and_the_vocabulary():
    """The largest tensor that is made has a block's rows, whatever N is."""
    case = make_case(rows=64, vocabulary=128, min_kept=1)
    hidden, weight, _ = student(64, 128)
    sizes = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for tensor in torch.utils._pytree.tree_leaves(out):
                if isinstance(tensor, torch.Tensor):
                    sizes.append(tensor.untyped_storage().nbytes() // tensor.element_size())
            return out

    with Sizes():
        terms = objective(MIXES["warm mix bucket"])
        options = HeadOptions(block_rows=8)
        distillation_loss(hidden, weight, case.targets, terms, options=options).total.backward()
    assert sizes
    assert max(sizes) == 8 * 128
