"""Every loss where something is at its end: nothing kept, no mass, no position, half precision."""

import pytest
import torch

from stage2_student.distillation import distillation_loss
from stage2_student.fused_head import HeadOptions
from tests.stage2_student.dense_twin import make_case, twin_loss
from tests.stage2_student.head_cases import (
    compare,
    dense_logits,
    objective,
    student,
)
from tests.stage2_student.loss_cases import SOFT, TAILS, UNBIASED, loss_of, term, value_and_gradient


@pytest.mark.parametrize("tail", TAILS[:3])
@pytest.mark.parametrize("loss", SOFT)
def test_one_kept_entry_and_one_position(loss, tail):
    if (loss, tail) == ("logit_mse", "none"):
        total = loss_of(make_case(rows=1, top_k=1), student(rows=1), [term(loss, tail=tail)])
        assert total.abs() < 1e-12  # one entry has no variance
        return
    compare(make_case(rows=1, top_k=1), student(rows=1), [term(loss, tail=tail)])


@pytest.mark.parametrize("loss", SOFT)
def test_no_position_at_all(loss):
    case = make_case(rows=3)
    inputs = student(rows=0)
    targets = case.targets.block(slice(0, 0))
    found = distillation_loss(*inputs[:2], targets, objective([term(loss)]))
    assert found.total == 0
    assert torch.autograd.grad(found.total, inputs[1])[0].abs().max() == 0


@pytest.mark.parametrize("tail", TAILS[:3])
@pytest.mark.parametrize("loss", UNBIASED)
def test_a_sure_teacher_whose_tail_is_at_its_floor(loss, tail):
    """No draw falls into a tail of 1e-9; the student may have much there."""
    case = make_case(top_k=2, vocabulary=40, sharpness=120.0, seed=4)
    assert case.targets.tail_logmass_N[1.0].exp().max() < 1.1e-9
    compare(case, student(vocabulary=40), [term(loss, tail=tail)], rtol=1e-6)


@pytest.mark.parametrize("tail", ["sample", "bucket"])
@pytest.mark.parametrize("loss", SOFT)
def test_a_student_without_mass_where_the_teacher_has_it_stays_finite(loss, tail):
    """Logits 1000 apart in fp32: probabilities underflow, log-probabilities do not."""
    case = make_case(dtype=torch.float32)
    hidden, weight, bias = student(dtype=torch.float32)
    with torch.no_grad():
        bias[7] = 1000
    total = loss_of(case, (hidden, weight, bias), [term(loss, tail=tail)])
    assert total.isfinite()
    for gradient in torch.autograd.grad(total, [hidden, weight, bias]):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("tail", ["sample", "bucket"])
@pytest.mark.parametrize("loss", SOFT)
def test_entries_that_a_student_cannot_say_have_minus_infinity_as_logit(loss, tail):
    """A student wider than the teacher; then one whose bias forbids a token that nobody keeps."""
    case = make_case()
    hidden, weight, bias = student(vocabulary=64)
    compare(case, (hidden, weight, bias), [term(loss, tail=tail)], HeadOptions(vocabulary=50))
    listed = {
        int(i) for ids in (case.targets.ids_NK, case.targets.tail_ids_NS) for i in ids.flatten()
    }
    forbidden = next(i for i in range(50) if i not in {*listed, *case.targets.labels_N.tolist()})
    hidden, weight, bias = student()
    with torch.no_grad():
        bias[forbidden] = -torch.inf
    total = loss_of(case, (hidden, weight, bias), [term(loss, tail=tail)])
    assert total.isfinite()
    assert torch.autograd.grad(total, weight)[0].isfinite().all()


@pytest.mark.parametrize("tail", ["sample", "bucket"])
@pytest.mark.parametrize("loss", SOFT)
def test_a_student_narrower_than_the_teacher_is_taken_as_it_is(loss, tail):
    """Five entries that the teacher all but excludes, and the student does not have."""
    teacher_NV = make_case().teacher_NV
    teacher_NV[:, 45:] = -60
    case = make_case(teacher_NV=teacher_NV.numpy())
    case.targets.labels_N.clamp_(max=44)
    hidden, weight, _ = student(vocabulary=45)
    ours = loss_of(case, (hidden, weight, None), [term(loss, tail=tail)], vocabulary=50)
    narrow = make_case(teacher_NV=teacher_NV[:, :45].numpy())
    twin = twin_loss(narrow, hidden @ weight.t(), [term(loss, tail=tail)])
    torch.testing.assert_close(ours, twin, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(total, weight)[0] for total in (ours, twin)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", SOFT)
def test_fp32_is_as_exact_as_fp32_can_be(loss):
    terms, rows, vocabulary = [term(loss, 2.0)], 48, 300
    exact = make_case(rows, vocabulary)
    case = make_case(rows, vocabulary, dtype=torch.float32)
    single = student(rows, vocabulary, 16, dtype=torch.float32, scale=0.5)
    double = [tensor.detach().double().requires_grad_() for tensor in single]
    ours, gradient = value_and_gradient(loss_of(case, single, terms), single[1])
    logits = dense_logits(*double, HeadOptions())
    twin, reference = value_and_gradient(twin_loss(exact, logits, terms), double[1])
    torch.testing.assert_close(ours, twin, rtol=1e-5, atol=0)
    assert (gradient - reference).abs().max() < 1e-5 * reference.abs().max()


@pytest.mark.parametrize("loss", SOFT)
def test_bf16_is_no_worse_than_the_dense_way_in_bf16(loss):
    """The tolerance is the dense twin's own error when its product runs in bf16, times 1.5."""
    terms, rows, vocabulary = [term(loss, 2.0)], 48, 300
    exact = make_case(rows, vocabulary)
    case = make_case(rows, vocabulary, dtype=torch.float32)
    hidden, weight, _ = student(rows, vocabulary, 16, dtype=torch.bfloat16, scale=0.5)
    best = weight.detach().double().requires_grad_()
    twin, reference = value_and_gradient(
        twin_loss(exact, hidden.detach().double() @ best.t(), terms), best
    )
    dense = twin_loss(exact, (hidden @ weight.t()).double(), terms)
    rough, rough_gradient = value_and_gradient(dense, weight)
    total = loss_of(case, (hidden, weight, None), terms)
    assert total.dtype == torch.float32
    ours, gradient = value_and_gradient(total, weight)
    assert (ours - twin).abs() < 1.5 * (rough - twin).abs() + 1e-4 * twin.abs()
    assert (gradient - reference).norm() < 1.5 * (rough_gradient - reference).norm()
